#include "hub/restore.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <utility>

#include "codec/archive.h"
#include "hub/state_rows.h"
#include "ledger/raft/raft_ledger.h"
#include "protocol/state_machine.h"
#include "store/kv/folder_format.h"

namespace tidelock {
namespace {

constexpr std::size_t kRecordBytes = 1u << 20;      // rows are gathered up to about this
constexpr std::size_t kRecordBytesMax = 64u << 20;  // and one record is refused above this (X7)

using Rows = std::vector<std::pair<Bytes, Bytes>>;

std::string little(std::uint32_t value) {
  std::string out;
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}
std::uint32_t little(const char* in) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = (value << 8) | static_cast<unsigned char>(in[i]);
  return value;
}

class BackupWriter {
 public:
  explicit BackupWriter(const std::string& path) : out_(path, std::ios::binary | std::ios::trunc) {}
  bool put(const Bytes& payload) {
    crc_ = crc32c(payload, crc_);
    out_ << little(static_cast<std::uint32_t>(payload.size())) << payload << little(crc_);
    return out_.good();
  }
  bool finish() { return out_.flush().good(); }

 private:
  std::ofstream out_;
  std::uint32_t crc_ = 0;
};

// Calls `take` with each set of rows, in order.
Result<BackupInfo> read_backup(const std::string& path, const std::function<Result<void>(Rows&)>& take) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Code::kInvalid, path + ": cannot be read");
  const auto damaged = [&](const char* what) {
    return fail(Code::kCorrupt, path + ": " + what + "; it is not a whole backup, take another one");
  };
  std::uint32_t crc = 0;
  BackupInfo info;
  const auto next = [&](Bytes& payload) -> const char* {
    char length[4];
    char sum[4];
    if (!in.read(length, 4)) return "it ends early";
    const std::uint32_t size = little(length);
    if (size > kRecordBytesMax) return "a record is longer than any can be";
    payload.resize(size);
    if (!in.read(payload.data(), size) || !in.read(sum, 4)) return "it ends early";
    crc = crc32c(payload, crc);
    info.bytes += size + 8;
    return crc == little(sum) ? nullptr : "checksum mismatch";
  };
  Bytes payload;
  if (const char* fault = next(payload)) return damaged(fault);
  auto header = decode<BackupHeader>(payload, "backup");
  if (!header) return damaged("its first record is no header");
  if (header->format != kBackupFormat) {
    return fail(Code::kInvalid, path + ": format " + std::to_string(header->format) + ", this build reads " +
                                    std::to_string(kBackupFormat) + "; use the build that wrote it, or a newer one");
  }
  info.header = *header;
  while (true) {
    if (const char* fault = next(payload)) return damaged(fault);
    auto rows = decode<Rows>(payload, "rows");
    if (!rows) return damaged("a record is malformed");
    if (rows->empty()) break;
    for (const auto& [key, value] : *rows) {
      const std::size_t colon = key.starts_with("vmodel:") ? key.rfind(":v") : std::string::npos;
      if (colon != std::string::npos) info.models.push_back(key.substr(7, colon - 7) + " " + key.substr(colon + 2));
    }
    info.rows += rows->size();
    if (auto taken = take(*rows); !taken) return fail(taken.error());
  }
  if (const char* fault = next(payload)) return damaged(fault);
  auto end = decode<BackupEnd>(payload, "end");
  if (!end || end->rows != info.rows) return damaged("rows are missing");
  return info;
}

// What RaftLedger::found asks for a snapshot: nothing else is ever called.
class Exporter : public LedgerListener {
 public:
  Exporter(Kv& kv, Index index) : kv_(kv), index_(index) {}
  void on_committed(std::vector<LedgerEntry>) override {}
  void on_dropped(CommandId, Code) override {}
  void on_leadership(bool, NodeId) override {}
  Result<void> on_install(const LedgerSnapshot&) override { return {}; }
  Result<Index> on_snapshot(const std::string& directory) override {
    if (auto exported = kv_.export_family(std::string(kStateFamily), directory + "/state"); !exported)
      return fail(exported.error());
    return index_;
  }
  void on_failed(const Error&) override {}

 private:
  Kv& kv_;
  const Index index_;
};

Result<std::unique_ptr<Kv>> open_folder(const HubConfig& config) {
  std::error_code error;
  std::filesystem::create_directories(config.data_dir + "/ledger", error);
  if (error) return fail(Code::kInvalid, "data_dir = \"" + config.data_dir + "\": " + error.message());
  if (auto claimed = claim_folder(config.data_dir, "hub " + config.id); !claimed) return fail(claimed.error());
  return Kv::open(config.data_dir + "/db",
                  {std::string(kStateFamily), std::string(kRaftLogFamily), std::string(kRaftStateFamily)});
}

RaftLedgerOptions ledger_options(const HubConfig& config) {
  RaftLedgerOptions options;
  options.id = config.id;
  for (const auto& [id, address] : config.hubs) options.members.push_back({id, address});
  options.directory = config.data_dir + "/ledger";
  return options;
}

Result<void> check_self(const HubConfig& config) {
  if (config.hubs.contains(config.id)) return {};
  return fail(Code::kInvalid, "hubs does not name this hub (id = \"" + config.id + "\"), and so not its address");
}

// Rewrites every row for a ledger that begins at `base`, and makes that ledger.
Result<std::uint64_t> found(const HubConfig& config, Kv& kv, Index base, std::uint64_t term) {
  std::uint64_t count = 0;
  Bytes from;
  while (true) {  // in pieces: a scan must not write, and the rows may not fit into memory
    KvBatch batch;
    std::size_t bytes = 0;
    auto scanned = kv.scan(std::string(kStateFamily), from, {}, [&](BytesView key, BytesView value) {
      Bytes next = rebased_row(key, value, base);
      bytes += key.size() + next.size();
      batch.put(std::string(kStateFamily), Bytes(key), std::move(next));
      return bytes < kRecordBytes;
    });
    if (!scanned) return fail(scanned.error());
    if (batch.writes.empty()) break;
    count += batch.writes.size();
    from = batch.writes.back().key + Bytes(1, '\0');
    if (auto written = kv.commit(batch, Sync::kNone); !written) return fail(written.error());
  }
  if (auto synced = kv.sync(); !synced) return fail(synced.error());
  Exporter exporter(kv, base);
  if (auto made = RaftLedger::found(ledger_options(config), kv, base, term, exporter); !made) return fail(made.error());
  return count;
}

}  // namespace

Result<void> write_backup(const Kv& kv, const NodeId& hub, const std::string& path) {
  BackupWriter writer(path);
  Rows rows;
  std::size_t bytes = 0;
  BackupEnd end;
  bool good = true;
  bool begun = false;
  // One scan sees the rows as of one instant, and each entry changes them in one batch: so this is one index.
  auto scanned = kv.scan(std::string(kStateFamily), {}, {}, [&](BytesView key, BytesView value) {
    if (!begun) {
      if (key != kAppliedRow) return false;
      begun = true;
      good = writer.put(encode(BackupHeader{kBackupFormat, applied_of_row(value), hub}));
    }
    rows.emplace_back(Bytes(key), Bytes(value));
    bytes += key.size() + value.size();
    ++end.rows;
    if (bytes >= kRecordBytes) {
      good = good && writer.put(encode(rows));
      rows.clear();
      bytes = 0;
    }
    return good;
  });
  if (!scanned) return scanned;
  if (!begun) return fail(Code::kUnavailable, "this hub has applied nothing yet");
  if (!rows.empty()) good = good && writer.put(encode(rows));
  good = good && writer.put(encode(Rows{})) && writer.put(encode(end)) && writer.finish();
  if (!good) return fail(Code::kBusy, path + ": cannot be written; free some space");
  return {};
}

Result<BackupInfo> check_backup(const std::string& path) {
  return read_backup(path, [](Rows&) { return Result<void>(); });
}

Result<Founded> restore_hub(const HubConfig& config, const std::string& path) {
  if (auto self = check_self(config); !self) return fail(self.error());
  if (auto whole = check_backup(path); !whole) return fail(whole.error());  // before anything is written
  auto kv = open_folder(config);
  if (!kv) return fail(kv.error());
  const auto first = (*kv)->last_key(std::string(kRaftStateFamily));
  if (!first) return fail(first.error());
  if (*first) {
    return fail(Code::kConflict, "data_dir = \"" + config.data_dir +
                                     "\" holds a ledger; a backup is restored into an empty folder only");
  }
  KvBatch wipe;  // of an attempt before that was broken off
  wipe.erase_range(std::string(kStateFamily), {}, Bytes(1, '\x7f'));
  if (auto wiped = (*kv)->commit(wipe, Sync::kNone); !wiped) return fail(wiped.error());
  auto info = read_backup(path, [&](Rows& rows) {
    KvBatch batch;
    for (auto& [key, value] : rows) batch.put(std::string(kStateFamily), std::move(key), std::move(value));
    return (*kv)->commit(batch, Sync::kNone);
  });
  if (!info) return fail(info.error());
  Founded founded{next_ledger_base(info->header.index), info->header.index, 0, {}, std::move(info->models)};
  auto rows = found(config, **kv, founded.base, 1);
  if (!rows) return fail(rows.error());
  founded.rows = *rows;
  return founded;
}

Result<Founded> recover_hub(const HubConfig& config, bool dry) {
  std::error_code ignored;  // what cannot be looked at is not there
  if (!std::filesystem::exists(config.data_dir + "/db", ignored)) {
    return fail(Code::kInvalid, "data_dir = \"" + config.data_dir + "\" holds no ledger to recover from");
  }
  auto kv = open_folder(config);
  if (!kv) return fail(kv.error());
  LogStore store(**kv);
  auto loaded = store.load();
  if (!loaded) return fail(loaded.error());
  if (loaded->pristine()) {
    return fail(Code::kInvalid, "data_dir = \"" + config.data_dir + "\" holds no ledger to recover from");
  }
  Founded founded;
  founded.last = {loaded->first_index + loaded->entries.size() - 1};
  founded.base = next_ledger_base(founded.last);
  Bytes members = loaded->snapshot ? loaded->snapshot->configuration : Bytes();
  for (const RaftEntry& entry : loaded->entries) {
    if (entry.type == RaftEntryType::kChange) members = entry.payload;
  }
  for (NodeId& id : raft_member_ids(members)) {
    if (id != config.id) founded.former.push_back(std::move(id));
  }
  if (dry) return founded;

  if (auto self = check_self(config); !self) return fail(self.error());
  KvStateRows rows(**kv);
  StateMachine machine(rows);
  if (loaded->snapshot && machine.applied().value < loaded->snapshot->index) {
    const std::string files = RaftLedger::snapshot_files(config.data_dir + "/ledger", loaded->snapshot->directory);
    if (auto imported = (*kv)->import_family(std::string(kStateFamily), files + "/state"); !imported)
      return fail(imported.error());
    machine.load();
  }
  // What is not known to be committed counts as well: it may have been acknowledged.
  for (std::size_t i = 0; i < loaded->entries.size(); ++i) {
    const Index index{loaded->first_index + i};
    if (loaded->entries[i].type != RaftEntryType::kCommand || index <= machine.applied()) continue;
    StateBatch changed;
    (void)machine.apply(index, loaded->entries[i].payload, changed);
    KvBatch batch;
    for (auto& [key, value] : changed.rows) {
      if (value) {
        batch.put(std::string(kStateFamily), std::move(key), std::move(*value));
      } else {
        batch.erase(std::string(kStateFamily), std::move(key));
      }
    }
    if (auto written = (*kv)->commit(batch, Sync::kNone); !written) return fail(written.error());
  }
  auto count = found(config, **kv, founded.base, loaded->vote.term + 1);
  if (!count) return fail(count.error());
  founded.rows = *count;
  return founded;
}

}  // namespace tidelock
