// Recalls at the active hub (M7): the operator's word becomes an entry at once, then the version is moved out of force
// by a strong write like any other, and that write is the certificate.
//
// Why it is enough. The right to use a version as in force is the lease on the pointer that names it. At the index of a
// strong write no page has a live lease without a block of its keys: everybody with one acknowledged, or it ran out
// (S3, A4, I3). Behind that index the pointer names another version, and behind the recall's own index none that was
// recalled can be written. So at the certificate's index the last right has lapsed, and before it the hub had no proof
// of that.

#include <algorithm>
#include <utility>

#include "base/mutant.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "protocol/hub_core.h"
#include "protocol/rollout.h"

namespace tidelock {
namespace {
constexpr std::size_t kNamesMax = 1'024;  // by name: with the record of a large rollout it fits one command
constexpr int kHopsMax = 64;              // from one recalled version to what it was to be replaced by

void name_in(std::vector<NodeId>& list, std::uint32_t& count, const NodeId& edge) {
  ++count;
  if (list.size() < kNamesMax) list.push_back(edge);
}
}  // namespace

Result<void> HubCore::not_recalled(const std::string& name, const std::string& version) const {
  if (!state_.is_recalled(name, version)) return {};
  return fail(Code::kConflict, "'" + name + "' " + version +
                                   " was recalled, for good; publish what replaces it under another number; `tidelock "
                                   "model recalls " +
                                   name + " " + version + "` says by whom and why");
}

bool HubCore::recall_open(const std::string& name) const {
  const auto& open = state_.uncertified();
  if (name.empty()) return !open.empty();
  const auto it = open.lower_bound({name, {}});
  return it != open.end() && it->first == name;
}

// The version, being recalled, that this one is to replace.
std::optional<std::string> HubCore::recall_into(const RecallModel& command) const {
  const auto current = pointer(model_current_key(command.name), nullptr);
  for (const auto& [name, version] : state_.uncertified()) {
    if (name != command.name) continue;
    const RecallVersion& asked = state_.recalls().at({name, version}).asked;
    if (asked.to_none) continue;
    const bool before = current && current->version == version && current->previous == command.version;
    if (asked.to.empty() ? before : asked.to == command.version) return version;
  }
  return std::nullopt;
}

Result<HubCore::Op> HubCore::recall_command(const RecallModel& command, const NodeId& who) {
  if (const auto ok = validate_model_name(command.name); !ok) return fail(ok.error());
  if (const auto ok = validate_model_version(command.version); !ok) return fail(ok.error());
  const std::string what = "'" + command.name + "' " + command.version;
  if (command.reason.size() > kRecallReasonMax) {
    return fail(Code::kInvalid, "the reason is " + std::to_string(command.reason.size()) +
                                    " bytes; it must be at most " + std::to_string(kRecallReasonMax));
  }
  if (command.to_none && !command.to.empty())
    return fail(Code::kInvalid, "a recall goes to " + command.to + " or to none, not to both");
  if (state_.ledger_version() < kLedgerVersionRecalls) {
    return fail(Code::kUnavailable,
                "not every hub knows of recalls yet; upgrade the others, the ledger follows by itself");
  }
  if (!is_strong(model_current_key(command.name))) {
    return fail(Code::kInvalid,
                "the namespace of 'model:' is not strong in this cluster: no gateway uses a version under "
                "a lease, so nothing could be certified");
  }
  if (!state_.find(model_version_key(command.name, command.version)))
    return fail(Code::kNotFound, "model " + what + " was never published");
  if (const auto it = state_.recalls().find({command.name, command.version}); it != state_.recalls().end()) {
    return fail(Code::kConflict, what + " was recalled before, at index " + std::to_string(it->second.index.value));
  }
  for (const auto& [id, op] : ops_) {
    const auto* same = std::get_if<RecallVersion>(&op.body);
    if (same != nullptr && same->name == command.name && same->version == command.version)
      return fail(Code::kConflict, "a recall of " + what + " is on its way");
  }
  const auto current = pointer(model_current_key(command.name), nullptr);
  const std::string before = current && current->version == command.version ? current->previous : std::string();
  const auto usable = [&](const std::string& version) {
    return version != command.version && !state_.is_recalled(command.name, version) &&
           state_.find(model_version_key(command.name, version)).has_value();
  };
  if (!command.to.empty()) {
    if (!usable(command.to)) {
      return fail(Code::kConflict, "'" + command.name + "' " + command.to +
                                       " cannot take its place: it is not published, or recalled itself");
    }
    if (command.to != before && (!current || command.to != current->version) &&
        edges_ready({command.name, command.to}) == 0) {
      return fail(Code::kConflict, "no connected gateway has verified '" + command.name + "' " + command.to +
                                       ", so none could go on with it; stage it first, or name another version, or "
                                       "recall to none");
    }
    // X2: what was in force goes on with an old timestamp, as after a rollback; what is new needs a fresh one.
    const bool known = command.to == before || (current && command.to == current->version);
    const auto stored = state_.find(model_version_key(command.name, command.to));
    if (auto ok = trusted(command.name, command.to, stored->value.value_or(Bytes()),
                          known ? TrustUse::kBack : TrustUse::kNew);
        !ok)
      return fail(ok.error());
  } else if (const auto into = command.to_none ? std::nullopt : recall_into(command)) {
    return fail(Code::kConflict, what + " is what gateways are to follow instead of " + *into +
                                     ", whose recall is on its way; say what takes its place (--to VERSION), or that "
                                     "nothing does (--none)");
  } else if (!command.to_none && current && current->version == command.version && !usable(before)) {
    return fail(Code::kConflict, what + " is in force and " +
                                     (before.empty() ? "no version was before it"
                                                     : "the one before it, " + before + ", was recalled itself") +
                                     "; say what takes its place (--to VERSION), or that nothing does (--none)");
  } else if (const auto log = history(model_history_key(command.name));
             !command.to_none && !before.empty() && rolled_back_to(log, *current) != nullptr) {
    return fail(Code::kConflict, what + " is in force because " + before +
                                     " was rolled back, which it would go back to; say what takes its place (--to "
                                     "VERSION), or that nothing does (--none)");
  } else if (!command.to_none && !before.empty()) {  // X2: where nobody said so, it goes back all the same
    const auto stored = state_.find(model_version_key(command.name, before));
    if (const auto ok = trusted(command.name, before, stored->value.value_or(Bytes()), TrustUse::kBack); !ok) {
      return fail(ok.error().code,
                  what + " is in force, and the one before it cannot take its place: " + ok.error().message +
                      "; say what does (--to VERSION), or that nothing does (--none)");
    }
  }
  want_short_lease();  // A5: should this hub fail meanwhile, its successor waits for that only
  Op op;
  op.body = RecallVersion{command.name, command.version, command.to_none, command.to, command.reason, who, wall_ms_};
  op.model_operation = "model_recalled";
  return op;
}

void HubCore::on_recalled(const Applied& applied) {
  if (!active_ || !applied.effective || applied.code != Code::kOk) return;
  const auto& recall = std::get<RecallVersion>(applied.command.body);
  for (auto& [conn, session] : sessions_) {
    if (session.open && session.protocol_version >= kProtocolVersionRecalls)
      send(session, Recalled{{{recall.name, recall.version}}});
  }
}

void HubCore::tell_recalls(Session& session) {
  if (session.protocol_version < kProtocolVersionRecalls) return;
  Recalled message;
  for (const auto& [which, recall] : state_.recalls()) {
    message.versions.push_back({which.first, which.second});
    if (message.versions.size() == kRecalledInMessage) send(session, std::exchange(message, {}));
  }
  if (!message.versions.empty()) send(session, std::move(message));
}

void HubCore::drive_recalls() {
  if (state_.uncertified().empty()) return;
  if (now_ < recalls_look_at_) return wake(recalls_look_at_);
  for (const ModelVersion& which : state_.uncertified()) {
    if (model_busy(which.first, {})) continue;  // looked at again when that is done
    Op op = certify_write(state_.recalls().at(which));
    op.id = next_id();
    op.began = now_;
    start_write(std::move(op));
  }
}

// What those follow who were to follow the recalled version: what the operator chose, or what was before it.
std::optional<ModelPointer> HubCore::instead_of(const RecallVersion& recall) const {
  std::string version = recall.to;
  if (recall.to_none) return std::nullopt;
  if (version.empty()) {
    const auto current = pointer(model_current_key(recall.name), nullptr);
    if (current) version = current->previous;
  }
  for (int hop = 0; hop < kHopsMax; ++hop) {
    if (version.empty()) return std::nullopt;
    const auto recalled = state_.recalls().find({recall.name, version});
    if (recalled == state_.recalls().end()) break;
    version = recalled->second.asked.to_none ? std::string() : recalled->second.asked.to;
  }
  const auto stored = state_.find(model_version_key(recall.name, version));
  if (!stored || !stored->value || state_.recalls().contains({recall.name, version})) return std::nullopt;
  return ModelPointer{version, sha256(*stored->value), {}};
}

HubCore::Op HubCore::certify_write(const RecallState& recall) const {
  const std::string& name = recall.asked.name;
  const std::string& version = recall.asked.version;
  Put put;
  const auto write = [&](const std::string& key, std::optional<Bytes> value) {
    const auto stored = state_.find(key);
    put.writes.push_back({key, std::move(value), 0, false, Condition::kVersionIs, stored ? stored->version : Index{}});
  };
  const auto current = pointer(model_current_key(name), nullptr);
  const bool in_force = current && current->version == version;
  const std::optional<ModelPointer> all = in_force ? instead_of(recall.asked) : current;

  auto held = rollout(name, nullptr);
  const bool ends_rollout =
      held && held->under_way() && (held->to.version == version || held->before.version == version);
  if (ends_rollout && !TIDELOCK_MUTANT(kRecallLeavesRollout)) {
    held->phase = RolloutPhase::kAborted;
    held->reason = version + " was recalled by " + recall.asked.who;
    write(model_rollout_key(name), encode_rollout(*held, state_.ledger_version()));
  }
  if (const auto stored = state_.find(model_ring_key(name)); stored && stored->value) {
    // As in any write that moves what the rest follows, nobody stays ahead of it (M5).
    const auto ring = decode<RingPointer>(*stored->value, "ring pointer");
    const bool named = !ring || ring->pointer.version == version;
    const bool ahead = (in_force || ends_rollout) && ring && !ring->members.empty();
    if ((named || ahead) && !TIDELOCK_MUTANT(kRecallForgetsRing))
      write(model_ring_key(name), encode(RingPointer{all.value_or(ModelPointer{}), {}}));
  }
  const auto staged = pointer(model_staged_key(name), nullptr);
  if (staged && (staged->version == version || ends_rollout))
    write(model_staged_key(name), all ? std::optional<Bytes>(encode(*all)) : std::nullopt);
  if (in_force) write(model_current_key(name), all ? std::optional<Bytes>(encode(*all)) : std::nullopt);

  Op op;
  op.certifies.emplace();
  op.certifies->name = name;
  op.certifies->version = version;
  op.certifies->recalled = recall.index;
  op.certifies->moved = !put.writes.empty();
  if (all) op.certifies->to = all->version;
  op.body = std::move(put);
  op.model_operation = "recall_certified";
  return op;
}

// At the moment of the append: what this hub knows of every gateway.
void HubCore::complete(RecallCertificate& certificate, const Op& op) const {
  certificate.term = term_;
  certificate.hub = options_.id;
  certificate.lapsed_at = ledger_now();
  certificate.lapsed_wall_ms = wall_ms_;
  const auto block = blocks_.find(op.block);
  if (block == blocks_.end()) return;  // no pointer named it: nobody was waited for
  for (const auto& [edge, boot] : block->second.acked) name_in(certificate.answered, certificate.answered_count, edge);
  for (const auto& [edge, ends] : leases_) {
    if (!block->second.acked.contains(edge)) name_in(certificate.lapsed, certificate.lapsed_count, edge);
  }
  for (const auto& [edge, site] : state_.edges()) {
    if (!block->second.acked.contains(edge) && !leases_.contains(edge))
      name_in(certificate.without, certificate.without_count, edge);
  }
}

std::vector<RecallView> HubCore::describe_recalls(const DescribeRecalls& request) const {
  std::vector<RecallView> list;
  const auto& all = state_.recalls();
  for (auto it = all.lower_bound({request.name, request.version}); it != all.end(); ++it) {
    const auto& [name, version] = it->first;
    if (!request.name.empty() && name != request.name) break;
    if (!request.version.empty() && version != request.version) break;
    RecallView& view = list.emplace_back();
    view.recall = it->second;
    if (request.version.empty()) continue;
    view.certificate = state_.certificate(name, version);
    view.registered = static_cast<std::uint32_t>(state_.edges().size());
    if (view.certificate) continue;
    const OpenBlock* open = nullptr;  // of this very recall: what was answered to another of the model is none to it
    for (const auto& [number, block] : blocks_) {
      const auto op = ops_.find(block.op);
      if (op != ops_.end() && op->second.certifies && op->second.certifies->name == name &&
          op->second.certifies->version == version)
        open = &block;
    }
    if (open != nullptr) view.answered = static_cast<std::uint32_t>(open->acked.size());
    view.wait_ns = std::max<Nanos>(0, saturating_sub(strong_wait_until(), now_));
    for (const auto& [edge, ends] : leases_) {
      if (ends <= now_ || (open != nullptr && open->acked.contains(edge))) continue;
      view.wait_ns = std::max(view.wait_ns, saturating_sub(ends, now_));
      view.holders.push_back({edge, by_edge_.contains(edge), saturating_sub(ends, now_)});
    }
    // Behind another write of the model, or not begun yet: till its own block is out, leases are renewed (A3), and each
    // may then last for a whole one. Of several recalls that are open of one model each may take that long in its turn;
    // one is added here, so the end may still move away from whoever asks behind more than one.
    if (open == nullptr) view.wait_ns = saturating_add(view.wait_ns, state_.lease_ns());
    std::sort(view.holders.begin(), view.holders.end(), [](const RecallHolder& a, const RecallHolder& b) {
      return std::pair{-a.lease_left_ns, a.edge} < std::pair{-b.lease_left_ns, b.edge};
    });
    if (view.holders.size() > kCertificateNamesMax) view.holders.resize(kCertificateNamesMax);
  }
  std::sort(list.begin(), list.end(),
            [](const RecallView& a, const RecallView& b) { return a.recall.index < b.recall.index; });
  return list;
}

// What recalls add to the log of a model: they are entries of the ledger themselves, so nothing need be written.
void HubCore::add_recalls(const std::string& name, std::vector<HistoryEntry>& history) const {
  for (auto it = state_.recalls().lower_bound({name, {}}); it != state_.recalls().end() && it->first.first == name;
       ++it) {
    const RecallVersion& asked = it->second.asked;
    history.push_back({asked.wall_ms, asked.who,
                       "recalled " + asked.version + (asked.reason.empty() ? std::string() : ": " + asked.reason)});
    const auto certificate = state_.certificate(name, asked.version);
    if (!certificate) continue;
    const auto counted = [](std::uint32_t count, const char* words) { return std::to_string(count) + words; };
    history.push_back({certificate->lapsed_wall_ms, certificate->hub,
                       "certified that nobody uses " + asked.version + " as in force, index " +
                           std::to_string(certificate->index.value) + ": " +
                           (certificate->moved ? counted(certificate->answered_count, " gateways answered, ") +
                                                     counted(certificate->lapsed_count, " had lapsed")
                                               : std::string("no pointer named it"))});
  }
  std::vector<std::pair<std::uint64_t, std::size_t>> order;  // of one instant, in the order they were in
  order.reserve(history.size());
  for (const HistoryEntry& entry : history) order.emplace_back(entry.wall_ms, order.size());
  std::sort(order.begin(), order.end());
  std::vector<HistoryEntry> sorted;
  sorted.reserve(history.size());
  for (const auto& [wall_ms, at] : order) sorted.push_back(std::move(history[at]));
  history = std::move(sorted);
  if (history.size() > kHistoryMax)
    history.erase(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(history.size() - kHistoryMax));
}

}  // namespace tidelock
