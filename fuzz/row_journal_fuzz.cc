// A journal of rows whose file was changed anywhere. It is refused, or it gives rows that were appended, in their
// order; and an untouched one gives all of them.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzz/fuzz.h"
#include "fuzz/shared_file.h"
#include "store/kv/row_journal.h"

namespace tidelock::fuzz {
namespace {

constexpr std::size_t kHalf = RowJournal::kHalfBytesMin;
using Rows = std::vector<std::pair<Bytes, std::optional<Bytes>>>;

struct Made {
  Folder folder;
  std::string path = folder.path() + "/rows";
  Rows rows;
  Made() {
    auto journal = *RowJournal::open(path, kHalf);
    journal->begin(5, 77);
    for (int i = 0; i < 12; ++i) {
      if (i == 6) {
        journal->seal();
        journal->turn();
      }
      std::optional<Bytes> row;
      if (i % 4 != 3) row = Bytes(static_cast<std::size_t>(i * 7), static_cast<char>('a' + i));
      rows.emplace_back("key" + std::to_string(i % 5), row);
      journal->append(rows.back().first, row ? std::optional<BytesView>(*row) : std::nullopt);
    }
    journal->seal();
  }
};

}  // namespace

std::vector<Seed> seeds() {
  const auto patch = [](std::size_t at, std::uint64_t value) { return number(at, 3) + number(value, 8); };
  return {{"sound", {}},
          {"generation", patch(16, 9)},
          {"end", patch(24, ~0ull)},
          {"sizes", patch(64 + 16, ~0ull)},
          {"check", patch(64, 1)},
          {"second", patch(kHalf + 64 + 24, 0)},
          {"magic", patch(0, 0) + patch(kHalf, 1)}};
}

void run(BytesView input) {
  static Made made;
  static SharedFile file(made.path);
  Input in(input);
  const bool touched = !in.empty();
  while (!in.empty()) {
    const auto at = static_cast<std::size_t>(in.number(3)) % (2 * kHalf - 8);
    file.put(at, in.take(8));
  }
  const auto journal = RowJournal::open(made.path, 0);
  TIDELOCK_ASSERT(journal || touched);
  if (journal) {
    auto next = made.rows.begin();
    const auto replayed = (*journal)->replay(0, [&](BytesView key, std::optional<BytesView> row) {
      const auto same = [&](const auto& one) {
        return one.first == key && one.second.has_value() == row.has_value() && (!row || *one.second == *row);
      };
      next = std::find_if(next, made.rows.end(), same);
      TIDELOCK_ASSERT(next != made.rows.end());
      ++next;
    });
    TIDELOCK_ASSERT(touched || (replayed.whole && replayed.rows == made.rows.size()));
  }
  file.restore();
}

}  // namespace tidelock::fuzz
