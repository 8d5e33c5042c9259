// Scripts of load on the stores of an edge and of a hub, and the means to tell what a store must hold after any part of
// one. A script is a pure function of the rows it begins with, its seed and its first step: the same on a FakeKv, which
// remembers the state after each commit, as on a real store that was interrupted somewhere.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "store/kv/kv.h"

namespace tidelock::stores {

class FaultDisk;

using Rows = std::map<std::pair<std::string, Bytes>, Bytes>;  // (family, key) -> value

// In memory; remembers a hash of the rows after each commit.
class FakeKv : public Kv {
 public:
  explicit FakeKv(Rows rows = {});
  Result<std::optional<Bytes>> get(const std::string& family, BytesView key) const override;
  Result<void> commit(const KvBatch& batch, Sync sync) override;
  Result<void> sync() override { return {}; }
  Result<void> scan(const std::string& family, BytesView begin, BytesView end,
                    const std::function<bool(BytesView, BytesView)>& visit) const override;
  Result<std::optional<Bytes>> last_key(const std::string& family) const override;
  Result<void> export_family(const std::string&, const std::string&) override;
  Result<void> import_family(const std::string&, const std::string&) override;
  std::uint64_t approximate_bytes() const override { return 0; }

  const std::vector<std::uint64_t>& states() const { return states_; }  // [n] = after n commits
  const Rows& rows() const { return rows_; }

 private:
  void set(const std::string& family, const Bytes& key, std::optional<Bytes> value);
  mutable std::mutex mutex_;
  Rows rows_;
  std::uint64_t hash_ = 0;
  std::vector<std::uint64_t> states_;
};

std::uint64_t hash_of(const Rows& rows);
Result<Rows> all_rows(const Kv& kv, const std::vector<std::string>& families);

// Counts the commits of one or more runs of a script on a store below it, and tells the disk's story about them.
class CountedKv : public Kv {
 public:
  struct Counts {
    std::uint64_t issued = 0;   // begun
    std::uint64_t acked = 0;    // with the kernel, it said
    std::uint64_t durable = 0;  // synced, it said
  };
  CountedKv(Kv& below, FaultDisk* disk, Counts from, std::function<void(const Counts&)> on_change = {})
      : below_(below), disk_(disk), on_change_(std::move(on_change)), counts_(from) {}
  Result<std::optional<Bytes>> get(const std::string& family, BytesView key) const override {
    return below_.get(family, key);
  }
  Result<void> commit(const KvBatch& batch, Sync sync) override;
  Result<void> sync() override;
  Result<void> scan(const std::string& family, BytesView begin, BytesView end,
                    const std::function<bool(BytesView, BytesView)>& visit) const override {
    return below_.scan(family, begin, end, visit);
  }
  Result<std::optional<Bytes>> last_key(const std::string& family) const override { return below_.last_key(family); }
  Result<void> export_family(const std::string& family, const std::string& directory) override {
    return below_.export_family(family, directory);
  }
  Result<void> import_family(const std::string& family, const std::string& directory) override {
    return below_.import_family(family, directory);
  }
  std::uint64_t approximate_bytes() const override { return below_.approximate_bytes(); }
  Counts counts() const;

 private:
  Kv& below_;
  FaultDisk* const disk_;
  const std::function<void(const Counts&)> on_change_;
  mutable std::mutex mutex_;
  Counts counts_;
};

// How a run of a script ended. `wrong` holds every breach of the rules that the script itself could see: a read that
// answered something that was not written last, a failed write that was not reported as D3 says.
struct Ended {
  Result<void> written{};  // the error that stopped it
  std::vector<std::string> wrong;
};

struct Script {
  const char* name;
  std::vector<std::string> families;
  // Runs steps [first, first + steps) with the rows that `kv` holds. Stops at the first error.
  Ended (*run)(Kv& kv, std::uint64_t seed, std::uint64_t first, std::uint64_t steps);
};
// L2 entries and the real outbox with its disk thread, a hub that answers its batches, sometimes twice.
extern const Script kEdgeScript;
// The log store (votes, entries, rewrites, snapshots) and the state machine's rows beside it.
extern const Script kHubScript;

// "" when the rows are those after n commits of the reference, low <= n <= high; else what is wrong.
std::string judge(const Rows& rows, const FakeKv& reference, std::uint64_t low, std::uint64_t high);

}  // namespace tidelock::stores
