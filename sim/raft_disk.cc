#include "sim/raft_disk.h"

#include "base/assert.h"

namespace tidelock::sim {

void RaftImage::apply(const RaftPersist& persist) {
  if (persist.vote) vote = *persist.vote;
  for (const RaftAppend& append : persist.appends) {
    log.erase(log.lower_bound(append.first), log.end());
    changes.erase(changes.lower_bound(append.first), changes.end());
    for (std::size_t i = 0; i < append.entries.size(); ++i) {
      log[append.first + i] = append.entries[i];
      if (append.entries[i].type == RaftEntryType::kChange) changes.insert(append.first + i);
    }
  }
  if (persist.reset_log) {
    log.clear();
    changes.clear();
  }
  if (persist.snapshot) snapshot = persist.snapshot;
  if (persist.first_kept > 0) {
    log.erase(log.begin(), log.lower_bound(persist.first_kept));
    changes.erase(changes.begin(), changes.lower_bound(persist.first_kept));
  }
}

// What is committed waits in `taken` and is seen by readers once it is applied: LogStore reads only in load().
class RaftDisk::MemoryKv : public Kv {
 public:
  using Key = std::pair<std::string, Bytes>;

  Result<std::optional<Bytes>> get(const std::string& family, BytesView key) const override {
    const auto it = rows.find({family, Bytes(key)});
    return it == rows.end() ? std::optional<Bytes>{} : std::optional<Bytes>(it->second);
  }
  Result<void> commit(const KvBatch& batch, Sync sync) override {
    TIDELOCK_ASSERT(sync == Sync::kDisk);
    if (refuse) return fail(Code::kBusy, "no space left on device");
    taken = batch;
    return {};
  }
  Result<void> sync() override { return {}; }
  Result<void> scan(const std::string& family, BytesView begin, BytesView end,
                    const std::function<bool(BytesView, BytesView)>& visit) const override {
    for (auto it = rows.lower_bound({family, Bytes(begin)}); it != rows.end() && it->first.first == family; ++it) {
      if (!end.empty() && it->first.second >= end) break;
      if (!visit(it->first.second, it->second)) break;
    }
    return {};
  }
  Result<std::optional<Bytes>> last_key(const std::string& family) const override {
    std::optional<Bytes> last;
    for (const auto& [key, value] : rows) {
      if (key.first == family) last = key.second;
    }
    return last;
  }
  Result<void> export_family(const std::string&, const std::string&) override {
    return fail(Code::kInvalid, "the log's store exports nothing");
  }
  Result<void> import_family(const std::string&, const std::string&) override {
    return fail(Code::kInvalid, "the log's store imports nothing");
  }
  std::uint64_t approximate_bytes() const override { return 0; }

  void apply(const KvBatch& batch) {
    for (const KvBatch::Write& write : batch.writes) {
      if (write.value) {
        rows[{write.family, write.key}] = *write.value;
      } else if (write.end) {
        rows.erase(rows.lower_bound({write.family, write.key}), rows.lower_bound({write.family, *write.end}));
      } else {
        rows.erase({write.family, write.key});
      }
    }
  }

  std::map<Key, Bytes> rows;
  std::optional<KvBatch> taken;
  bool refuse = false;
};

RaftDisk::RaftDisk() : kv_(std::make_unique<MemoryKv>()) {}
RaftDisk::~RaftDisk() = default;

Result<RaftLoaded> RaftDisk::load() {
  TIDELOCK_ASSERT(under_way_.empty());
  store_.emplace(*kv_);
  auto loaded = store_->load();
  if (!loaded) return loaded;
  const std::uint64_t first = !image_.log.empty() ? image_.log.begin()->first
                              : image_.snapshot   ? image_.snapshot->index + 1
                                                  : 1;
  lied_ = loaded->vote != image_.vote || loaded->snapshot != image_.snapshot ||
          loaded->entries.size() != image_.log.size() || loaded->first_index != first;
  auto at = loaded->entries.begin();
  for (const auto& [index, entry] : image_.log) lied_ = lied_ || entry != *at++;
  return loaded;
}

Result<void> RaftDisk::write(const RaftPersist& persist) {
  kv_->refuse = fault_ == DiskFault::kRefused;
  kv_->taken.reset();
  auto written = store_->commit(persist);
  if (kv_->taken) under_way_.emplace_back(std::move(*kv_->taken), persist);
  return written;
}

void RaftDisk::land() {
  kv_->apply(under_way_.front().first);
  image_.apply(under_way_.front().second);
  under_way_.pop_front();
}

bool RaftDisk::synced(Rng& rng) {
  TIDELOCK_ASSERT(!under_way_.empty());
  if (fault_ == DiskFault::kSyncFailed) {
    crash(rng);
    return false;
  }
  land();
  return true;
}

void RaftDisk::crash(Rng& rng) {
  for (std::uint64_t stay = rng.below(under_way_.size() + 1); stay > 0; --stay) land();
  under_way_.clear();
  fault_ = DiskFault::kNone;
  kv_->refuse = false;
  store_.reset();
}

bool RaftDisk::flip(std::uint64_t chance) {
  if (kv_->rows.empty()) return false;
  auto it = kv_->rows.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(chance % kv_->rows.size()));
  const std::uint64_t bit = (chance / kv_->rows.size()) % (it->second.size() * 8);
  it->second[bit / 8] = static_cast<char>(it->second[bit / 8] ^ (1 << (bit % 8)));
  return true;
}

std::map<std::pair<std::string, Bytes>, Bytes>& RaftDisk::records() { return kv_->rows; }

}  // namespace tidelock::sim
