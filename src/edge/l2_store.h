// L2Store keeps the edge's entries below the memory tier (DESIGN 6), and gives them back as unverified (F8).
//
// Where:    every entry has a row in RocksDB. With a RemoteStore, the row of a copy larger than kL2InlineBytes holds
// the
//           digest of the value, and the value lies at the cache server; so a value that the server lost, damaged or
//           has from before (a dropped write, an old snapshot) is a miss, never an older value, and what is not in L2
//           is known without asking. What has not left this gateway (`local`) stays in RocksDB with its value, whatever
//           the engine: there may be no other copy, and it was acknowledged as one that survives a kill.
// What it gives back:  never an epoch: only this session's memory vouches for a value. The instant of the last proof is
//           kept while it still means something: same run of the elapsed clock, no disruption since (C2). An entry with
//           an expiry of another run of the clock (another boot of the machine) is dropped.
// Damage:   a row or value that cannot be read is a miss, counted, and erased with the next commit; the hub has the
//           truth, and of a local value its loss is logged.
// Quota:    with bytes_max, keys and rows in RocksDB return under it with the next commits: along the keys in their
//           order leaves what has expired, and copies that were neither replaced nor read from here since the hand of
//           the clock passed them (what memory answers is not read from here), and where there are hardly any, local
//           values. Rows that `keep` names (writes that wait in the outbox) never leave; they alone may exceed it.
//           Values at a cache server are not counted: that server has its own limit. The files are larger than the rows
//           they hold by what compaction has not given back yet, and by at most 64 MiB of log.
// On the way: with a journal, rows of keys that live on this gateway only lie in it first (store/kv/row_journal.h), so
//           that a key that changes often is stored once, and a kill takes nothing that was acknowledged (D1). A half
//           of it that is full or kL2JournalAge old is carried on to RocksDB, some rows with each commit. Until then
//           find sees them and scan does not: store_all comes before it. Where a row goes to RocksDB at once and one of
//           its key is in the journal, the journal is emptied first.
// Threads:  scan from any; everything else on the loop's thread.
// Cost:     find is one RocksDB get (about 2 us) on a miss of memory; at a cache server it waits for that besides, on
// the
//           loop (remote_store.h says for how long). commit is one unsynced write for a whole step; with a quota or a
//           cache server each row of it costs one get more, unless it was the journal's and is still known
//           (l2_row_sizes.h), and a row that is already there as it is costs no write. An eviction looks at up to
//           kL2EvictRows rows in one commit.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/typed_value.h"
#include "edge/l2_row.h"
#include "edge/l2_row_sizes.h"
#include "protocol/edge_core.h"
#include "store/kv/kv.h"
#include "store/kv/row_journal.h"
#include "store/remote/remote_store.h"

namespace tidelock {

inline constexpr char kL2Family[] = "l2";
inline constexpr char kOutboxFamily[] = "outbox";
inline constexpr char kMetaFamily[] = "meta";

inline constexpr std::size_t kL2InlineBytes = 128;  // a value of this size costs less in its row than at a server
inline constexpr std::size_t kL2EvictRows = 4096;
inline constexpr std::uint64_t kL2Unbounded = ~std::uint64_t{0};
inline constexpr Nanos kL2JournalAge = 1 * kSecond;
inline constexpr std::size_t kL2JournalSlice = 64;  // rows that one commit carries on to RocksDB, at least

struct L2Options {
  std::uint64_t bytes_max = kL2Unbounded;                    // needs kMetaFamily, where the bytes are counted
  std::size_t remote_value_bytes_max = kCacheValueBytesMax;  // a larger value stays in RocksDB
  std::string journal_path{};                                // empty: none; needs kMetaFamily
  std::size_t journal_half_bytes = 16u << 20;
};

struct L2Counters {
  std::uint64_t bytes = 0;  // of keys and rows in RocksDB; 0 without a quota
  std::uint64_t evicted = 0;
  std::uint64_t damaged = 0;    // rows and values that could not be read
  std::uint64_t missing = 0;    // values that the cache server does not have any more, or has from before
  std::uint64_t unchanged = 0;  // rows that were there already and were not written again
  std::uint64_t journaled = 0, carried_on = 0;  // rows into the journal, and from it to RocksDB
};

class L2Store : public EdgeStore {
 public:
  // `kv` has kL2Family; both outlive the store. `remote` may be null.
  L2Store(Kv& kv, L2Run run, L2Options options = {}, RemoteStore* remote = nullptr);
  ~L2Store() override;  // store_all, if it can
  L2Store(const L2Store&) = delete;
  L2Store& operator=(const L2Store&) = delete;
  // Reads from when on proofs count (C2, C3) and, with a quota, how many bytes there are. Cost: two rows; the whole
  // family where nobody has counted yet. Needs kMetaFamily.
  Result<void> open();
  // The keys for which `keep` says yes are not evicted.
  void keep(std::function<bool(const std::string&)> keep) { keep_ = std::move(keep); }

  std::optional<EdgeEntry> find(std::string_view key) const override;

  // Writes the EntryPut and EntryErase of a step, in order and all or nothing, so that they survive kill -9, and before
  // them that proofs were dropped, if they were. An error means that it was not stored: D3. `own`: all of them are of
  // keys that live on this gateway only.
  Result<void> commit(const EdgeActions& actions, Nanos now, bool own = false);
  // When commit is to be called again, with or without anything to store; kForever: no need to.
  Nanos commit_at(Nanos now) const;
  // Everything that is on the way reaches RocksDB now.
  Result<void> store_all();
  // True once after rows left the journal, or a while after own rows passed it by: until they are synced a power cut
  // may take them (D9).
  bool take_wants_sync() { return std::exchange(wants_sync_, false); }
  void disrupted(Nanos suspended_ns);  // C2
  const L2Counters& counters() const { return counters_; }

  struct Listed {
    std::string_view key;
    bool local;  // never left this gateway, or not sequenced yet
    ValueKind kind;
  };
  // Live entries with a value after `after`, in order, until `visit` says false. Reads at most `rows_max` rows; returns
  // the last key looked at, nullopt at the end. A value that its cache server has lost is listed until somebody reads
  // it.
  Result<std::optional<std::string>> scan(std::string_view after, std::size_t rows_max, Nanos now,
                                          const std::function<bool(const Listed&)>& visit) const;

 private:
  struct Old {  // a row before a commit changes it
    Bytes row;
    bool remote = false;
  };
  struct Change {
    std::optional<Bytes> row;    // nullopt erases
    std::optional<Bytes> value;  // for the cache server
    Nanos ttl_ns = kForever;
  };
  class Plan;  // the changes of one commit
  bool counts() const { return options_.bytes_max != kL2Unbounded; }
  std::optional<Old> old_row(BytesView key) const;
  bool elsewhere(const EdgeEntry& entry) const;  // the value goes to the cache server
  Change change_of(const EntryPut& put, Nanos now) const;
  Result<void> carry_out(Plan& plan, std::optional<std::uint64_t> drained = std::nullopt);
  Result<void> open_journal();
  Result<bool> put_into_journal(const EdgeActions& actions, Nanos now);
  Result<void> put_at_once(const EdgeActions& actions, Nanos now, bool own);
  Result<void> carry_on(std::size_t rows);
  Result<void> carry_out_carried(std::optional<std::uint64_t> drained);
  void group(const EntryPut& put, Nanos now);
  void begin_draining();
  Result<void> finish_draining();
  std::optional<std::optional<BytesView>> on_the_way(std::string_view key) const;
  bool draining() const { return journal_->keys_draining() > 0; }
  Result<void> drop_proofs(Nanos from);
  void unreadable(const Error& why) const;
  Result<void> evict(Nanos now);
  bool goes(const std::string& key, const L2Row& row, Nanos now, bool pressed, bool force);
  void used(std::string_view key) const { used_.set(hash64(key) % used_.size()); }

  Kv& kv_;
  L2Run run_;
  const L2Options options_;
  RemoteStore* const remote_;
  std::function<bool(const std::string&)> keep_;
  mutable L2Counters counters_;
  // What find saw since the last commit: rows to be erased by the next one, and values that are whole at the server.
  mutable std::vector<std::string> broken_, intact_;

  // The rows of the half that is drained stay until all have been carried on: a kill brings them all back.
  std::unique_ptr<RowJournal> journal_;
  std::size_t next_drained_ = 0;
  Nanos filling_since_ = kNever;
  struct Grouped {  // a row of the step under way: its head lies in heads_, the value in the step
    const std::string* key;
    bool erases;
    std::size_t head_at, head_bytes;
    BytesView value;
  };
  std::vector<Grouped> group_;
  Bytes heads_;
  std::vector<KvRow> carried_;
  L2RowSizes sizes_;
  bool carry_failed_ = false;
  bool wants_sync_ = false;
  Nanos sync_at_ = kForever;  // when own rows that went to RocksDB at once are to be synced

  // Eviction is CLOCK over the keys in their order: a bit says that an entry was read or replaced since the hand
  // passed.
  mutable std::bitset<(1u << 20)> used_;
  std::string hand_;
  std::uint64_t evict_from_ = 0;  // below so many bytes it has just been tried in vain
};

}  // namespace tidelock
