// What a hub finds on its disk when it starts: rows of its Raft log, vote and snapshot. Either it refuses them, or the
// log is whole; then the driver starts on it or says why not, and what it loaded is what it would write. Checksums are
// put right for most rows, so that what lies behind them is reached.
#include <map>

#include "fuzz/fuzz.h"
#include "ledger/raft/log_store.h"
#include "ledger/raft/raft_driver.h"

namespace tidelock::fuzz {
namespace {

// Two families in memory.
class MapKv : public Kv {
 public:
  Result<std::optional<Bytes>> get(const std::string& family, BytesView key) const override {
    const auto& rows = rows_of(family);
    const auto it = rows.find(key);
    return it == rows.end() ? std::nullopt : std::optional<Bytes>(it->second);
  }
  Result<void> commit(const KvBatch& batch, Sync) override {
    for (const KvBatch::Write& write : batch.writes) {
      auto& rows = families[write.family];
      if (write.value)
        rows[write.key] = *write.value;
      else if (write.end)
        rows.erase(rows.lower_bound(write.key), rows.lower_bound(*write.end));
      else
        rows.erase(write.key);
    }
    return {};
  }
  Result<void> sync() override { return {}; }
  Result<void> scan(const std::string& family, BytesView begin, BytesView end,
                    const std::function<bool(BytesView, BytesView)>& visit) const override {
    const auto& rows = rows_of(family);
    for (auto it = rows.lower_bound(begin); it != rows.end() && (end.empty() || it->first < end); ++it) {
      if (!visit(it->first, it->second)) break;
    }
    return {};
  }
  Result<std::optional<Bytes>> last_key(const std::string& family) const override {
    const auto& rows = rows_of(family);
    return rows.empty() ? std::nullopt : std::optional<Bytes>(rows.rbegin()->first);
  }
  Result<void> export_family(const std::string&, const std::string&) override { return {}; }
  Result<void> import_family(const std::string&, const std::string&) override { return {}; }
  std::uint64_t approximate_bytes() const override { return 0; }

  using Rows = std::map<Bytes, Bytes, std::less<>>;
  std::map<std::string, Rows> families;

 private:
  const Rows& rows_of(const std::string& family) const {
    static const Rows none;
    const auto it = families.find(family);
    return it == families.end() ? none : it->second;
  }
};

enum : std::uint8_t { kState = 1, kAsIs = 2 };  // bits of a row's first byte

Bytes text_of(const MapKv& kv) {
  Bytes out;
  for (const auto& [family, rows] : kv.families) {
    for (const auto& [key, value] : rows) {
      const bool state = family == kRaftStateFamily;
      out += number(state ? kState : 0, 1) + piece(key) + piece(BytesView(value).substr(0, value.size() - 4));
    }
  }
  return out;
}

}  // namespace

std::vector<Seed> seeds() {
  const std::vector<RaftServer> servers = {{1, "a", RaftRole::kVoter}, {2, "b", RaftRole::kVoter}};
  const RaftEntry change{1, RaftEntryType::kChange, encode_configuration(servers)};
  const RaftEntry command{2, RaftEntryType::kCommand, "command"}, barrier{3, RaftEntryType::kBarrier, {}};
  std::vector<Seed> out;
  MapKv kv;
  LogStore store(kv);
  const auto write = [&](const char* name, RaftPersist persist) {
    TIDELOCK_ASSERT(store.commit(persist));
    out.push_back({name, text_of(kv)});
  };
  write("first", {RaftVote{1, 0}, {{1, {change}}}, {}, 0, false});
  write("some", {RaftVote{3, 2}, {{2, {command, command, barrier}}}, {}, 0, false});
  write("snapshot", {{}, {}, RaftSnapshotMeta{3, 2, 1, encode_configuration(servers), "snap-3-1"}, 2, false});
  write("installed", {{}, {}, RaftSnapshotMeta{9, 3, 1, encode_configuration(servers), "snap-9-2"}, 0, true});
  kv = {};
  write("wraps", {{}, {}, RaftSnapshotMeta{~0ull, 3, 1, encode_configuration(servers), "snap"}, 0, true});
  out.push_back({"checksum", number(kAsIs, 1) + piece(Bytes(7, '\0') + "\x01") + piece(Bytes(20, '\1'))});
  return out;
}

void run(BytesView input) {
  MapKv kv;
  for (Input in(input); !in.empty();) {
    const std::uint8_t how = in.byte();
    const Bytes key(in.piece());
    Bytes value(in.piece());
    if ((how & kAsIs) == 0) value += number(crc32c(value, crc32c(key)), 4);
    kv.families[how & kState ? kRaftStateFamily : kRaftLogFamily][key] = std::move(value);
  }
  LogStore store(kv);
  auto loaded = store.load();
  if (!loaded) return TIDELOCK_ASSERT(loaded.error().code == Code::kCorrupt && !loaded.error().message.empty());
  TIDELOCK_ASSERT(loaded->first_index > 0);

  RaftPersist all;  // the same, written by us into an empty store
  all.vote = loaded->vote;
  MapKv copy;
  LogStore rewritten(copy);
  if (loaded->snapshot && loaded->entries.empty()) {
    all.snapshot = loaded->snapshot;
    all.reset_log = true;
  } else {
    all.snapshot = loaded->snapshot;
    if (!loaded->entries.empty()) all.appends.push_back({loaded->first_index, loaded->entries});
  }
  TIDELOCK_ASSERT(rewritten.commit(all));
  const auto again = LogStore(copy).load();
  TIDELOCK_ASSERT(again && again->vote == loaded->vote && again->snapshot == loaded->snapshot);
  TIDELOCK_ASSERT(again->first_index == loaded->first_index && again->entries == loaded->entries);

  RaftDriverSettings settings;
  settings.number = 1;
  settings.address = "a";
  RaftDriver driver;
  RaftActions out;
  const std::uint64_t last = loaded->first_index + loaded->entries.size() - 1;
  const RaftVote vote = loaded->vote;
  if (!driver.start(settings, std::move(*loaded), {}, 0, out)) return;
  TIDELOCK_ASSERT(driver.last_index().value == last && driver.term() >= vote.term);
  driver.step(RaftEvent{out.wake_at, RaftTick{}}, out);
}

}  // namespace tidelock::fuzz
