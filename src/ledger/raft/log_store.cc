// Records. Log: key = 8 bytes big-endian index; value = version (1), type (1), term (8, little-endian), payload, crc
// (4). State family: "vote" and "snapshot" = encoded struct, crc (4). Each crc covers the key as well, so that a record
// that turns up under another key is found out.
#include "ledger/raft/log_store.h"

#include <cstring>

#include "codec/archive.h"

namespace tidelock {

constexpr char kVersion = 1;
constexpr std::size_t kHeaderBytes = 10;
constexpr std::size_t kCrcBytes = 4;
constexpr std::uint64_t kIndexMax = 1ull << 62;  // no ledger comes there; sums with it do not wrap around
constexpr char kVoteKey[] = "vote";
constexpr char kSnapshotKey[] = "snapshot";
constexpr char kAdvice[] =
    "; this hub must not vote with it: stop it, remove its folder, and let it join anew under a new id";  // D2, D4

static Bytes log_key(std::uint64_t index) {
  Bytes key(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) key[i] = static_cast<char>(index >> (56 - 8 * i));
  return key;
}

static std::uint64_t index_of(BytesView key) {
  std::uint64_t index = 0;
  for (const char c : key) index = (index << 8) | static_cast<unsigned char>(c);
  return index;
}

static void put_little(Bytes& out, std::uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(v >> (8 * i)));
}

static std::uint64_t get_little(BytesView in) {
  std::uint64_t v = 0;
  for (std::size_t i = in.size(); i-- > 0;) v = (v << 8) | static_cast<unsigned char>(in[i]);
  return v;
}

static void seal(BytesView key, Bytes& value) { put_little(value, crc32c(value, crc32c(key)), kCrcBytes); }

static bool unseal(BytesView key, BytesView& value) {
  if (value.size() < kCrcBytes) return false;
  const BytesView body = value.substr(0, value.size() - kCrcBytes);
  if (get_little(value.substr(body.size())) != crc32c(body, crc32c(key))) return false;
  value = body;
  return true;
}

static Bytes log_value(BytesView key, const RaftEntry& entry) {
  Bytes value;
  value.reserve(kHeaderBytes + entry.payload.size() + kCrcBytes);
  value.push_back(kVersion);
  value.push_back(static_cast<char>(entry.type));
  put_little(value, entry.term, 8);
  value.append(entry.payload);
  seal(key, value);
  return value;
}

static const char* parse_entry(BytesView key, BytesView value, RaftEntry& entry) {
  if (key.size() != 8 || index_of(key) == 0 || index_of(key) > kIndexMax) return "its key is not an index";
  if (!unseal(key, value)) return "checksum mismatch";
  if (value.size() < kHeaderBytes) return "truncated";
  if (value[0] != kVersion) return "unknown format version";
  const auto type = static_cast<unsigned char>(value[1]);
  if (type < 1 || type > static_cast<unsigned char>(RaftEntryType::kChange)) return "unknown type";
  entry.type = static_cast<RaftEntryType>(type);
  entry.term = get_little(value.substr(2, 8));
  entry.payload.assign(value.substr(kHeaderBytes));
  return entry.term == 0 ? "term 0" : nullptr;
}

template <class T>
static Result<std::optional<T>> get_sealed(const Kv& kv, const char* key) {
  auto found = kv.get(kRaftStateFamily, key);
  if (!found) return fail(found.error());
  if (!*found) return std::optional<T>{};
  BytesView value = **found;
  if (!unseal(key, value)) {
    return fail(Code::kCorrupt, std::string("raft ") + key + ": checksum mismatch" + kAdvice);
  }
  auto decoded = decode<T>(value, key);
  if (!decoded) return fail(Code::kCorrupt, "raft " + decoded.error().message + kAdvice);
  return std::optional<T>(std::move(*decoded));
}

template <class T>
static void put_sealed(KvBatch& batch, const char* key, const T& what) {
  Bytes value = encode(what);
  seal(key, value);
  batch.put(kRaftStateFamily, key, std::move(value));
}

Result<RaftLoaded> LogStore::load() {
  RaftLoaded out;
  auto vote = get_sealed<RaftVote>(kv_, kVoteKey);
  if (!vote) return fail(vote.error());
  auto snapshot = get_sealed<RaftSnapshotMeta>(kv_, kSnapshotKey);
  if (!snapshot) return fail(snapshot.error());
  if (*snapshot && ((*snapshot)->index == 0 || (*snapshot)->index > kIndexMax)) {
    return fail(Code::kCorrupt, "raft snapshot: it stands for entry " + std::to_string((*snapshot)->index) +
                                    ", which no ledger has" + kAdvice);
  }
  if (*vote) out.vote = **vote;
  out.snapshot = std::move(*snapshot);
  out.first_index = out.snapshot ? out.snapshot->index + 1 : 1;

  std::optional<Error> fault;
  const auto visit = [&](BytesView key, BytesView value) {
    RaftEntry entry;
    const char* what = parse_entry(key, value, entry);
    const std::uint64_t index = index_of(key);
    const std::uint64_t expected = out.first_index + out.entries.size();
    if (what == nullptr && out.entries.empty() && index <= expected) {
      out.first_index = index;  // trailing entries behind the snapshot
    } else if (what == nullptr && index != expected) {
      what = "entries before it are missing";
    }
    if (what == nullptr && !out.entries.empty() && entry.term < out.entries.back().term) what = "its term is lower";
    if (what != nullptr) {
      fault = Error{Code::kCorrupt, "raft log: entry " + std::to_string(index) + ": " + what + kAdvice, {}, 0};
      return false;
    }
    out.entries.push_back(std::move(entry));
    return true;
  };
  auto scanned = kv_.scan(kRaftLogFamily, {}, {}, visit);
  if (!scanned) return fail(scanned.error());
  if (fault) return fail(*fault);
  const std::uint64_t last = out.first_index + out.entries.size() - 1;
  if (out.snapshot && last < out.snapshot->index) {
    return fail(Code::kCorrupt, "raft log: it ends at " + std::to_string(last) + ", below its snapshot at " +
                                    std::to_string(out.snapshot->index) + kAdvice);
  }
  if (!out.entries.empty() && out.vote.term < out.entries.back().term) {
    return fail(Code::kCorrupt, "raft log: its last term " + std::to_string(out.entries.back().term) +
                                    " is above the stored term " + std::to_string(out.vote.term) + kAdvice);
  }
  last_ = last;
  return out;
}

Result<void> LogStore::commit(const RaftPersist& persist) {
  KvBatch batch;
  if (persist.vote) put_sealed(batch, kVoteKey, *persist.vote);
  for (const RaftAppend& append : persist.appends) {
    // Nothing at or above `first` may survive: a shorter rewrite would leave a tail of another leader's entries.
    if (append.first <= last_) batch.erase_range(kRaftLogFamily, log_key(append.first), log_key(last_ + 1));
    last_ = append.first + append.entries.size() - 1;
    for (std::size_t i = 0; i < append.entries.size(); ++i) {
      Bytes key = log_key(append.first + i);
      Bytes value = log_value(key, append.entries[i]);
      batch.put(kRaftLogFamily, std::move(key), std::move(value));
    }
  }
  if (persist.reset_log) {
    batch.erase_range(kRaftLogFamily, log_key(0), log_key(last_ + 1));
    last_ = persist.snapshot ? persist.snapshot->index : 0;
  }
  if (persist.snapshot) put_sealed(batch, kSnapshotKey, *persist.snapshot);
  if (persist.first_kept > 0) batch.erase_range(kRaftLogFamily, log_key(0), log_key(persist.first_kept));
  if (batch.writes.empty()) return {};
  return kv_.commit(batch, Sync::kDisk);
}

}  // namespace tidelock
