// Rows. The first byte is the kind; numbers in keys are big-endian, so that rows of a kind lie in their order.
//
//   a                          applied index, ledger time, ends of the id queue: written by every apply
//   c                          the newest claim: term, hub, boot
//   s                          cluster settings, namespaces, model key, lease choice (A5); absent until the seed
//   n                          version of the ledger (RaiseVersion); absent while it is 1
//   e EDGE                     site of a registered edge (A6)
//   b EDGE                     its batch numbers by incarnation (D5), and its stamp floor
//   i CLIENT SEQUENCE          index and outcome of a command; kUnavailable: aborted at that index (S1)
//   o NUMBER, v KEY            those ids in the order in which they leave; StoredValue
//   x EXPIRY KEY               keys with a value that ends, by ledger time
//   t WALL COUNTER WRITER KEY  keys with a tombstone, by stamp
//   r, k NAME VERSION          recalls and their certificates (state_recalls.cc)
//
// What is remembered about ids is bounded by number and not by time, so that every hub forgets at the same index. A
// command that returns after kIdsMax others would count as new; nothing waits that long: an append of an earlier term
// is fenced, and a client gives up a retry long before (a batch has its numbers beside). Beacons are not remembered:
// applied twice they do what they did, and ten a second would push out the writes.
//
// Tombstones. A write-behind record may be older than one that is here already (an edge that was away for hours), so a
// key keeps its newest stamp after it was deleted or has expired. When may the tombstone go? Not after any time: the
// ledger orders entries, but says nothing about what an edge still holds back, and an hour or a year later an older
// record may arrive and resurrect the key. So as in G9 it goes by proof: each edge sends its records in the order of
// their stamps (outbox.h), hence nothing at or below the newest stamp of its newest batch can follow, and a tombstone
// goes when that holds of every registered edge. One that is registered later starts above all that was collected
// before (run(RegisterEdge)). An edge that never writes holds collection back until it is removed; its tombstones are
// small. Values without a stamp (write-through) are ordered by the ledger alone and leave at their expiry.

#include "protocol/state_machine.h"

#include <algorithm>
#include <limits>

#include "base/assert.h"
#include "base/mutant.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

struct Head {
  Index applied;
  Nanos ledger_time = 0;
  std::uint64_t ids_first = 1, ids_next = 1;
  template <class A>
  void fields(A& a) {
    a(applied, ledger_time, ids_first, ids_next);
  }
};
struct ClaimRow {
  Term term;
  NodeId hub;
  Boot boot;
  template <class A>
  void fields(A& a) {
    a(term, hub, boot);
  }
};
struct SettingsRow {
  ClusterSettings settings;
  std::vector<Namespace> namespaces;
  Bytes model_key;
  bool lease_is_short = false;
  template <class A>
  void fields(A& a) {
    a(settings, namespaces, model_key, lease_is_short);
  }
};

constexpr std::size_t kNumberBytes = 8;
constexpr std::size_t kStampBytes = 20;
constexpr std::size_t kSiteBytesMax = 64;
constexpr std::size_t kModelKeyBytesMax = 64u << 10;
constexpr Stamp kLastStamp{std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::uint32_t>::max(),
                           std::numeric_limits<std::uint64_t>::max()};

void append_big_endian(Bytes& out, std::uint64_t value, int bytes = 8) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}
std::uint64_t big_endian(std::string_view in, std::size_t at, std::size_t bytes = 8) {
  std::uint64_t value = 0;
  for (std::size_t i = at; i < at + bytes; ++i) value = value << 8 | static_cast<unsigned char>(in[i]);
  return value;
}

Bytes named_row(char kind, std::string_view name) {
  Bytes key(1, kind);
  key += name;
  return key;
}
Bytes id_row(CommandId id) {
  Bytes key(1, 'i');
  append_big_endian(key, id.client);
  append_big_endian(key, id.sequence);
  return key;
}
Bytes order_row(std::uint64_t number) {
  Bytes key(1, 'o');
  append_big_endian(key, number);
  return key;
}
Bytes expiry_row(Nanos expires_at, std::string_view key) {
  Bytes row(1, 'x');
  append_big_endian(row, static_cast<std::uint64_t>(expires_at));
  row += key;
  return row;
}
Bytes tombstone_row(const Stamp& stamp, std::string_view key) {
  Bytes row(1, 't');
  append_big_endian(row, stamp.wall_ms);
  append_big_endian(row, stamp.counter, 4);
  append_big_endian(row, stamp.writer);
  row += key;
  return row;
}

// Rows are written by this file only and guarded by the store's checksums: a row that does not decode is a bug of ours.
template <class T>
T own_row(BytesView bytes) {
  auto value = decode<T>(bytes, "state row");
  TIDELOCK_ASSERT(value.has_value());
  return std::move(*value);
}

void refuse(Applied& applied, Code code, std::string message) {
  applied.effective = false;
  applied.code = code;
  applied.message = std::move(message);
}

Result<void> validate_node(const NodeId& id, const char* what) {
  if (!id.empty() && id.size() <= kNodeIdBytesMax) return {};
  return fail(Code::kInvalid, std::string(what) + " is " + std::to_string(id.size()) + " bytes; it must be 1 to " +
                                  std::to_string(kNodeIdBytesMax) + " bytes");
}

Result<void> validate_content(const std::string& key, const std::optional<Bytes>& value, Nanos ttl_ns) {
  if (auto ok = validate_key(key); !ok) return ok;
  if (value) {
    if (auto ok = validate_value(*value); !ok) return ok;
  }
  if (ttl_ns >= 0) return {};
  return fail(Code::kInvalid, "'" + key + "': ttl_ns is " + std::to_string(ttl_ns) + "; it must be 0 (none) or more");
}

Result<void> validate_put(const Put& put) {
  if (put.writes.empty() || put.writes.size() > kKeysPerWriteMax) {
    return fail(Code::kInvalid, "a write has 1 to " + std::to_string(kKeysPerWriteMax) + " keys, this one " +
                                    std::to_string(put.writes.size()));
  }
  for (const KeyWrite& write : put.writes) {
    if (auto ok = validate_content(write.key, write.value, write.ttl_ns); !ok) return ok;
  }
  return {};
}

// D6, D8: a batch with one record that may not be there is refused as a whole and its number stays free. All or
// nothing, because the edge must learn which record it was, and splits the batch to find out; the number stays free,
// because a hub also refuses such a batch before it appends it, and both must mean the same to the edge.
Result<void> validate_batch(const Batch& batch, const std::vector<Namespace>& namespaces) {
  if (auto ok = validate_node(batch.edge, "edge of a batch"); !ok) return ok;
  if (batch.number == 0) return fail(Code::kInvalid, "batch number is 0; numbers count from 1");
  if (batch.records.size() > StateMachine::kBatchRecordsMax) {
    return fail(Code::kInvalid, "a batch has at most " + std::to_string(StateMachine::kBatchRecordsMax) +
                                    " records, this one " + std::to_string(batch.records.size()));
  }
  for (const BatchRecord& record : batch.records) {
    if (auto ok = validate_content(record.key, record.value, record.ttl_ns); !ok) return ok;
    const Namespace& policy = namespace_of(namespaces, record.key);
    if (policy.write_mode != WriteMode::kBehind || policy.scope != Scope::kRegion) {
      return fail(Code::kInvalid, "'" + record.key + "' is not in a write-behind namespace of the region");
    }
    if (record.stamp == Stamp{})
      return fail(Code::kInvalid, "'" + record.key + "': a write-behind record needs a stamp");
  }
  return {};
}

bool condition_holds(const KeyWrite& write, const StoredValue* live) {
  switch (write.condition) {
    case Condition::kNone: return true;
    case Condition::kAbsent: return live == nullptr;
    case Condition::kPresent: return live != nullptr;
    case Condition::kVersionIs:
    case Condition::kVersionStays: return (live == nullptr ? Index{} : live->version) == write.expected;
    case Condition::kAbsentOrSame: return live == nullptr || live->value == write.value;
  }
  return false;
}

}  // namespace

Bytes rebased_row(std::string_view key, std::string_view value, Index base) {  // F11
  if (key == kAppliedRow) {
    Head head = own_row<Head>(value);
    head.applied = base;
    return encode(head);
  }
  if (key.starts_with('v')) {
    StoredValue stored = own_row<StoredValue>(value);
    stored.version = base;
    return encode(stored);
  }
  return Bytes(value);
}

Index applied_of_row(std::string_view value) { return own_row<Head>(value).applied; }

// ------------------------------------------------------------------------------------------------------------ rows

StateMachine::StateMachine(const StateRows& rows) : rows_(&rows) { load(); }

void StateMachine::load() {
  changed_rows_.clear();
  const auto head_row = row("a");
  const Head head = head_row ? own_row<Head>(*head_row) : Head{};
  applied_ = head.applied;
  ledger_time_ = head.ledger_time;
  ids_first_ = head.ids_first;
  ids_next_ = head.ids_next;
  first_expiry_ = 0;
  first_tombstone_ = {};

  const auto claim_row = row("c");
  const ClaimRow claim = claim_row ? own_row<ClaimRow>(*claim_row) : ClaimRow{};
  term_ = claim.term;
  claim_hub_ = claim.hub;
  claim_boot_ = claim.boot;

  const auto settings_row = row("s");
  seeded_ = settings_row.has_value();
  SettingsRow settings = settings_row ? own_row<SettingsRow>(*settings_row) : SettingsRow{};
  settings_ = settings.settings;
  namespaces_ = std::move(settings.namespaces);
  model_key_ = std::move(settings.model_key);
  lease_is_short_ = settings.lease_is_short;

  const auto version_row = row("n");
  ledger_version_ = version_row ? own_row<std::uint32_t>(*version_row) : 1;

  edges_.clear();
  visit("e", [this](std::string_view key, std::string_view site) {
    edges_.emplace(key.substr(1), site);
    return true;
  });
  floors_.clear();
  visit("b", [this](std::string_view key, std::string_view value) {
    floors_.emplace(key.substr(1), own_row<Lanes>(value).floor);
    return true;
  });
  load_recalls();
}

std::optional<Bytes> StateMachine::row(std::string_view key) const {
  if (const auto it = changed_rows_.find(key); it != changed_rows_.end()) return it->second;
  return rows_->row(key);
}

// Merges the committed rows with those of the latest apply.
void StateMachine::visit(std::string_view prefix, std::string_view from, const Visit& visit) const {
  auto changed = changed_rows_.lower_bound(from);
  const auto in_prefix = [&] { return changed != changed_rows_.end() && changed->first.starts_with(prefix); };
  bool more = true;
  const auto take_changed = [&] {
    if (changed->second) more = visit(changed->first, *changed->second);
    ++changed;
  };
  rows_->visit(prefix, from, [&](std::string_view key, std::string_view value) {
    while (more && in_prefix() && changed->first < key) take_changed();
    if (!more) return false;
    if (in_prefix() && changed->first == key) {
      take_changed();
    } else {
      more = visit(key, value);
    }
    return more;
  });
  while (more && in_prefix()) take_changed();
}

void StateMachine::put_head() { put_row("a", encode(Head{applied_, ledger_time_, ids_first_, ids_next_})); }

void StateMachine::put_settings() {
  put_row("s", encode(SettingsRow{settings_, namespaces_, model_key_, lease_is_short_}));
}

std::optional<StoredValue> StateMachine::stored(std::string_view key) const {
  const auto bytes = row(named_row('v', key));
  if (!bytes) return std::nullopt;
  return own_row<StoredValue>(*bytes);
}

// The one place that writes values, so that `x` and `t` always name exactly the rows that wait for them.
void StateMachine::store(const std::string& key, const std::optional<StoredValue>& before,
                         const std::optional<StoredValue>& now) {
  if (before && before->value && before->expires_at != kForever) erase_row(expiry_row(before->expires_at, key));
  if (before && !before->value) erase_row(tombstone_row(before->stamp, key));
  if (!now) {
    erase_row(named_row('v', key));
    return;
  }
  if (now->value && now->expires_at != kForever) {
    first_expiry_ = std::min(first_expiry_, now->expires_at);
    put_row(expiry_row(now->expires_at, key), {});
  }
  if (!now->value) {
    first_tombstone_ = std::min(first_tombstone_, now->stamp);
    put_row(tombstone_row(now->stamp, key), {});
  }
  put_row(named_row('v', key), encode(*now));
}

std::optional<StateMachine::Remembered> StateMachine::remembered(CommandId id) const {
  const auto bytes = row(id_row(id));
  if (!bytes) return std::nullopt;
  return own_row<Remembered>(*bytes);
}

void StateMachine::remember(CommandId id, Remembered what) {
  if (ids_next_ - ids_first_ >= kIdsMax) {
    const Bytes oldest = order_row(ids_first_++);
    const auto bytes = row(oldest);
    TIDELOCK_ASSERT(bytes.has_value());
    erase_row(id_row(own_row<CommandId>(*bytes)));
    erase_row(oldest);
  }
  put_row(order_row(ids_next_++), encode(id));
  put_row(id_row(id), encode(what));
}

StateMachine::Lanes StateMachine::lanes_of(const NodeId& edge) const {
  const auto bytes = row(named_row('b', edge));
  return bytes ? own_row<Lanes>(*bytes) : Lanes{};
}

// ----------------------------------------------------------------------------------------------------------- reads

std::optional<StoredValue> StateMachine::find(std::string_view key) const {
  auto value = stored(key);
  if (!value || !live(*value)) return std::nullopt;
  return value;
}

Stamp StateMachine::newest_batch_stamp(const NodeId& edge) const {
  const auto it = floors_.find(edge);
  return it == floors_.end() ? Stamp{} : it->second;
}

Stamp StateMachine::newest_stamp(std::string_view key) const {
  const auto value = stored(key);
  return value ? value->stamp : Stamp{};
}

std::vector<std::string> StateMachine::keys(std::string_view prefix, std::size_t limit) const {
  std::vector<std::string> found;
  if (limit == 0) return found;
  visit(named_row('v', prefix), [&](std::string_view key, std::string_view value) {
    if (live(own_row<StoredValue>(value))) found.emplace_back(key.substr(1));
    return found.size() < limit;
  });
  return found;
}

StateMachine::Listing StateMachine::list(std::string_view prefix, std::string_view after, Nanos now) const {
  Listing page;
  std::size_t rows = 0, bytes = 0, read = 0;
  const bool goes_on = !after.empty() && after.starts_with(prefix);
  Bytes from = named_row('v', goes_on ? after : prefix);
  if (goes_on) from.push_back('\0');  // the smallest key behind it
  visit(named_row('v', prefix), from, [&](std::string_view row, std::string_view encoded) {
    const std::string_view key = row.substr(1);
    if (rows++ == kListedRowsMax || bytes > kListedBytesMax || read > kListedReadMax) return false;
    page.last = key;
    read += encoded.size();
    if (namespace_of(namespaces_, key).prefix != prefix) return true;  // of a longer one, inside of it
    const auto value = own_row<StoredValue>(encoded);
    if (!value.value || value.expires_at <= now) return true;
    bytes += key.size();
    page.keys.emplace_back(key);
    page.newest = std::max(page.newest, value.stamp);
    return true;
  });
  if (rows <= kListedRowsMax && bytes <= kListedBytesMax && read <= kListedReadMax) page.last.clear();
  return page;
}

std::optional<std::pair<Index, Code>> StateMachine::outcome(CommandId id) const {
  const auto known = remembered(id);
  if (!known) return std::nullopt;
  return std::pair{known->index, known->code};
}

std::uint64_t StateMachine::last_batch(const NodeId& edge, std::uint64_t incarnation) const {
  for (const Lane& lane : lanes_of(edge).lanes) {
    if (lane.incarnation == incarnation) return lane.last;
  }
  return 0;
}

std::size_t StateMachine::uncollected() const {
  std::size_t count = 0;
  visit("x", [&](std::string_view key, std::string_view) {
    const bool past = big_endian(key, 1) <= static_cast<std::uint64_t>(ledger_time_);
    if (past) ++count;
    return past;
  });
  visit("t", [&](std::string_view, std::string_view) {
    ++count;
    return true;
  });
  return count;
}

// ----------------------------------------------------------------------------------------------------------- apply

Applied StateMachine::apply(Index index, BytesView command, StateBatch& out) {
  Applied applied;
  applied.index = index;
  auto decoded = decode<Command>(command, "ledger command");
  if (decoded) applied.command = std::move(*decoded);
  if (index <= applied_) {  // the ledger repeats entries after a restart; they are in the rows
    refuse(applied, Code::kOk, "index " + std::to_string(index.value) + " was applied before");
    return applied;
  }
  changed_rows_.clear();
  applied_ = index;
  if (decoded) {
    run(applied);
  } else {
    refuse(applied, Code::kCorrupt, decoded.error().message);
  }
  put_head();  // in every batch: a restart resumes exactly here
  for (const auto& change : changed_rows_) out.rows.emplace_back(change);
  return applied;
}

void StateMachine::run(Applied& applied) {
  const Command& command = applied.command;
  const bool is_beacon = std::holds_alternative<Beacon>(command.body);
  const bool is_claim = std::holds_alternative<Claim>(command.body);
  if (command.id.client == 0 || command.id.sequence == 0)
    return refuse(applied, Code::kInvalid, "a command needs an id");
  const bool once = !is_beacon && !TIDELOCK_MUTANT(kIdAppliedTwice);
  if (const auto known = once ? remembered(command.id) : std::nullopt) {  // A1, 3.5: each id is applied once
    if (known->code == Code::kUnavailable) {                              // S1
      return refuse(applied, Code::kUnavailable,
                    "the command was aborted at index " + std::to_string(known->index.value));
    }
    applied.applied_before = known->index;
    return refuse(applied, known->code, "applied before at index " + std::to_string(known->index.value));
  }
  if (!is_claim && (term_.value == 0 || command.term != term_) &&
      !TIDELOCK_MUTANT(kNoFencing)) {  // A1: fencing; without a trace, the id included
    if (TIDELOCK_MUTANT(kIgnoredLeavesId)) remember(command.id, {applied.index, Code::kOk});
    return refuse(
        applied, Code::kNotActive,
        "term " + std::to_string(command.term.value) + " is not the newest claim's, " + std::to_string(term_.value));
  }
  // The ledger's time never falls, whatever a command says. Expiries count from the command's own: one that was
  // overtaken on its way into the ledger lives no longer for that.
  const Nanos time_before = ledger_time_;
  ledger_time_ = std::max(ledger_time_, command.ledger_time);
  applied.effective = true;
  std::visit([&](const auto& body) { run(applied, body); }, command.body);
  if (!applied.effective) {
    ledger_time_ = time_before;
  } else if (!is_beacon) {
    remember(command.id, {applied.index, applied.code});
  }
}

void StateMachine::run(Applied& applied, const Claim& claim) {  // A1: takes effect whatever the term was
  if (const auto ok = validate_node(claim.hub, "hub of a claim"); !ok)
    return refuse(applied, Code::kInvalid, ok.error().message);
  term_ = Term{applied.index.value};
  claim_hub_ = claim.hub;
  claim_boot_ = claim.boot;
  put_row("c", encode(ClaimRow{term_, claim_hub_, claim_boot_}));
}

void StateMachine::run(Applied&, const Beacon&) { sweep(kSweepMax); }  // A2

void StateMachine::run(Applied& applied, const Put& put) {  // S4
  if (const auto ok = validate_put(put); !ok) return refuse(applied, Code::kInvalid, ok.error().message);
  if (const auto gone = puts_recalled_in_force(put))  // M7: whoever wrote it, and whatever was known when it was made
    return refuse(applied, Code::kConflict, gone->first + " " + gone->second + " was recalled");
  std::map<std::string, StoredValue> live_before;  // what the conditions are judged by: the state before this write
  for (const KeyWrite& write : put.writes) {
    if (auto value = find(write.key)) live_before.emplace(write.key, std::move(*value));
  }
  const auto before = [&](const std::string& key) -> const StoredValue* {
    const auto it = live_before.find(key);
    return it == live_before.end() ? nullptr : &it->second;
  };
  for (const KeyWrite& write : put.writes) {  // all or nothing
    if (condition_holds(write, before(write.key)) || (only_asks(write) && TIDELOCK_MUTANT(kStaysNotHeld))) continue;
    applied.code = Code::kConflict;
    applied.message = "the condition on '" + write.key + "' does not hold";
    return;  // with effect: the id is used up, and the same answer is given to every retry
  }
  std::map<std::string, StoredValue> changed;
  for (const KeyWrite& write : put.writes) {
    const StoredValue* held = before(write.key);
    if (only_asks(write) || (write.condition == Condition::kAbsentOrSame && held != nullptr)) continue;  // not changed
    StoredValue now;  // a write-through value bears no stamp: the ledger orders it
    now.version = applied.index;
    now.value = write.value;
    if (write.value) {
      if (write.keep_ttl) {
        now.expires_at = held == nullptr ? kForever : held->expires_at;
      } else if (write.ttl_ns > 0) {
        now.expires_at = saturating_add(applied.command.ledger_time, write.ttl_ns);
      }
      store(write.key, stored(write.key), now);
    } else {
      store(write.key, stored(write.key), std::nullopt);
    }
    changed[write.key] = std::move(now);
  }
  for (auto& [key, now] : changed) applied.changed.push_back({key, std::move(now)});
  sweep(2 * put.writes.size());
}

void StateMachine::run(Applied& applied, const Abort& abort) {  // S1
  if (const auto known = remembered(abort.target)) {
    if (known->code == Code::kUnavailable) return;  // aborted by an earlier one
    applied.applied_before = known->index;
    return refuse(applied, known->code, "the target was applied at index " + std::to_string(known->index.value));
  }
  if (abort.target.client == 0 || abort.target.sequence == 0)
    return refuse(applied, Code::kInvalid, "an abort needs a target");
  remember(abort.target, {applied.index, Code::kUnavailable});
}

void StateMachine::run(Applied& applied, const RegisterEdge& edge) {  // A6
  if (const auto ok = validate_node(edge.edge, "edge id"); !ok)
    return refuse(applied, Code::kInvalid, ok.error().message);
  if (edge.site.size() > kSiteBytesMax) {
    return refuse(
        applied, Code::kInvalid,
        "site is " + std::to_string(edge.site.size()) + " bytes; it must be at most " + std::to_string(kSiteBytesMax));
  }
  // G9: what was collected lies at or below what every registered edge has passed, and the new one counts from there:
  // its welcome tells it to stamp above. (Of an empty registry nothing is known but what all passed who ever wrote.)
  if (ledger_version_ >= 2 && !edges_.contains(edge.edge)) {
    Stamp passed = proven_floor();
    if (edges_.empty()) {
      for (const auto& [id, stamp] : floors_) passed = std::max(passed, stamp);
    }
    if (passed > newest_batch_stamp(edge.edge)) {
      Lanes lanes = lanes_of(edge.edge);
      lanes.floor = floors_[edge.edge] = passed;
      put_row(named_row('b', edge.edge), encode(lanes));
    }
  }
  edges_[edge.edge] = edge.site;
  put_row(named_row('e', edge.edge), edge.site);
}

void StateMachine::run(Applied&, const RemoveEdge& edge) {  // A6; its batch numbers stay: a late one still counts once
  edges_.erase(edge.edge);
  erase_row(named_row('e', edge.edge));
}

void StateMachine::run(Applied& applied, const SetLease& lease) {  // A5
  if (!seeded_) return refuse(applied, Code::kUnavailable, "the cluster has no settings yet");
  lease_is_short_ = lease.use_short;
  put_settings();
}

void StateMachine::run(Applied& applied, const Seed& seed) {
  if (seeded_) return refuse(applied, Code::kConflict, "the cluster has its settings already");
  if (const auto ok = validate_settings(seed.settings); !ok) return refuse(applied, Code::kInvalid, ok.error().message);
  if (const auto ok = validate_namespaces(seed.namespaces); !ok)
    return refuse(applied, Code::kInvalid, ok.error().message);
  if (seed.model_key.size() > kModelKeyBytesMax) {
    return refuse(applied, Code::kInvalid,
                  "model_key is " + std::to_string(seed.model_key.size()) + " bytes; it must be at most " +
                      std::to_string(kModelKeyBytesMax));
  }
  seeded_ = true;
  settings_ = seed.settings;
  namespaces_ = seed.namespaces;
  model_key_ = seed.model_key;
  lease_is_short_ = true;  // A5: nothing has been rolled out yet; the hub lengthens it when that stays so
  put_settings();
}

void StateMachine::run(Applied& applied, const RaiseVersion& raise) {
  if (raise.version <= ledger_version_) {
    return refuse(applied, Code::kOk, "the ledger is at version " + std::to_string(ledger_version_));
  }
  ledger_version_ = raise.version;
  put_row("n", encode(ledger_version_));
}

void StateMachine::run(Applied& applied, const Batch& batch) {  // D5
  if (!seeded_) return refuse(applied, Code::kUnavailable, "the cluster has no settings yet");
  if (const auto ok = validate_batch(batch, namespaces_); !ok)
    return refuse(applied, Code::kInvalid, ok.error().message);

  Lanes lanes = lanes_of(batch.edge);
  auto& all = lanes.lanes;
  auto at =
      std::find_if(all.begin(), all.end(), [&](const Lane& lane) { return lane.incarnation == batch.incarnation; });
  Lane lane = at == all.end() ? Lane{batch.incarnation, 0, {}} : *at;
  if (batch.number <= lane.last &&
      !TIDELOCK_MUTANT(kBatchAppliedTwice)) {  // a lost reply, or a second hub: it counts once
    if (batch.number == lane.last) applied.applied_before = lane.index;
    return refuse(applied, Code::kOk, "batch " + std::to_string(batch.number) + " was applied before");
  }
  if (batch.number > lane.last + 1) {
    return refuse(applied, Code::kConflict,
                  "batch " + std::to_string(batch.number) + " of this incarnation would leave a hole; " +
                      std::to_string(lane.last + 1) + " is next");
  }
  std::map<std::string, StoredValue> changed;
  for (const BatchRecord& record : batch.records) {
    lanes.floor = &record == batch.records.data() ? record.stamp : std::max(lanes.floor, record.stamp);
    const auto before = stored(record.key);
    if (before && record.stamp <= before->stamp &&
        !TIDELOCK_MUTANT(kOlderStampWins)) {  // the newer stamp wins, and keeps winning after it was deleted
      ++applied.superseded;
      continue;
    }
    StoredValue now;
    now.version = applied.index;
    now.value = record.value;
    now.stamp = record.stamp;
    if (record.value && record.ttl_ns > 0) now.expires_at = saturating_add(applied.command.ledger_time, record.ttl_ns);
    store(record.key, before, now);
    changed[record.key] = std::move(now);
  }
  if (at != all.end()) all.erase(at);
  if (all.size() >= kLanesMax) all.erase(all.begin());  // the one that was used least recently
  all.push_back({batch.incarnation, batch.number, applied.index});
  floors_[batch.edge] = lanes.floor;
  put_row(named_row('b', batch.edge), encode(lanes));
  for (auto& [key, now] : changed) applied.changed.push_back({key, std::move(now)});
  sweep(2 * batch.records.size());
}

// Bounded work per entry, the same on every hub. Under load no beacons are appended (any entry serves as one), so
// writes sweep too: twice what they may leave behind, so that what waits shrinks.
void StateMachine::sweep(std::size_t limit) {
  sweep_expired(limit);
  sweep_proven(limit);
}

void StateMachine::sweep_expired(std::size_t limit) {
  if (first_expiry_ > ledger_time_) return;
  first_expiry_ = kForever;
  std::vector<std::string> expired;
  visit("x", [&](std::string_view key, std::string_view) {
    const auto at = static_cast<Nanos>(big_endian(key, 1));
    if (at > ledger_time_ || expired.size() == limit) {
      first_expiry_ = at;
      return false;
    }
    expired.emplace_back(key.substr(1 + kNumberBytes));
    return true;
  });
  for (const std::string& key : expired) {
    const auto before = stored(key);
    TIDELOCK_ASSERT(before && before->value);
    std::optional<StoredValue> now;
    if (before->stamp != Stamp{}) {
      now = *before;
      now->value.reset();
    }
    store(key, before, now);
  }
}

// Nothing at or below it can follow from a registered edge.
Stamp StateMachine::proven_floor() const {
  Stamp floor = edges_.empty() ? Stamp{} : kLastStamp;
  for (const auto& [edge, site] : edges_) floor = std::min(floor, newest_batch_stamp(edge));
  return floor;
}

void StateMachine::sweep_proven(std::size_t limit) {
  if (first_tombstone_ == kLastStamp) return;
  const Stamp floor = proven_floor();
  if (first_tombstone_ > floor && !TIDELOCK_MUTANT(kTombstoneByAge)) return;
  first_tombstone_ = kLastStamp;
  std::vector<std::string> proven;
  visit("t", [&](std::string_view key, std::string_view) {
    const Stamp stamp{big_endian(key, 1), static_cast<std::uint32_t>(big_endian(key, 9, 4)), big_endian(key, 13)};
    if ((stamp > floor && !TIDELOCK_MUTANT(kTombstoneByAge)) || proven.size() == limit) {
      first_tombstone_ = stamp;
      return false;
    }
    proven.emplace_back(key.substr(1 + kStampBytes));
    return true;
  });
  for (const std::string& key : proven) store(key, stored(key), std::nullopt);
}

}  // namespace tidelock
