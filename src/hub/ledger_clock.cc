#include "hub/ledger_clock.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "base/bytes.h"
#include "codec/archive.h"

namespace tidelock {
namespace {
struct Row {
  std::uint64_t format = 1, clock_run = 0;
  Nanos ledger_time = 0, at = 0;
  std::uint64_t check = 0;
  std::uint64_t sum() const {
    return hash64(std::to_string(format) + "/" + std::to_string(clock_run) + "/" + std::to_string(ledger_time) + "/" +
                  std::to_string(at));
  }
  template <class A>
  void fields(A& a) {
    a(format, clock_run, ledger_time, at, check);
  }
};
}  // namespace

LedgerReading LedgerClockFile::load() const {
  std::ifstream file(path_, std::ios::binary);
  const Bytes bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto row = decode<Row>(bytes, "ledger clock");
  if (!row || row->check != row->sum() || row->clock_run != clock_run_ || clock_run_ == 0) return {};
  return {row->ledger_time, row->at};
}

void LedgerClockFile::note(const LedgerReading& seen) {
  if (noted_at_ != kNever && seen.at < saturating_add(noted_at_, kSecond)) return;
  noted_at_ = seen.at;
  Row row;
  row.clock_run = clock_run_;
  row.ledger_time = seen.time;
  row.at = seen.at;
  row.check = row.sum();
  const std::string fresh = path_ + ".new";
  std::ofstream file(fresh, std::ios::binary | std::ios::trunc);
  file << encode(row);
  file.close();
  std::error_code ignored;
  if (file) std::filesystem::rename(fresh, path_, ignored);
}

}  // namespace tidelock
