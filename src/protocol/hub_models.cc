// What operators ask: reads and writes of keys, and the life of a model version as strong writes of a few bytes (M2-M5,
// S5).

#include <algorithm>
#include <map>
#include <utility>

#include "base/mutant.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "codec/trust.h"
#include "protocol/hub_core.h"
#include "protocol/trust_check.h"
#include "protocol/trust_push.h"

namespace tidelock {

void HubCore::answer(AskToken token, AdminAnswer reply) {
  reply.hub = options_.id;
  reply.active = active_;
  reply.term = term_;
  if (reply.code == Code::kNotActive) reply.hint = leader_;
  out_->answers.push_back({token, std::move(reply)});
}

void HubCore::on_asked(const HubAsked& asked) {
  const AskToken token = asked.token;
  const AdminRequest& request = asked.request;
  if (std::holds_alternative<DescribeCluster>(request.body)) {  // any hub may describe itself
    AdminAnswer reply;
    reply.index = state_.applied();
    reply.edges = describe_edges();
    reply.hint = leader_;
    answer(token, std::move(reply));
    return;
  }
  if (!active_ || !state_.seeded()) {
    AdminAnswer reply;
    reply.code = Code::kNotActive;
    reply.message =
        leader_.empty() ? "no hub is active yet; repeat in a moment" : "this hub is not active; ask " + leader_;
    answer(token, std::move(reply));
    return;
  }
  if (std::holds_alternative<DescribeStaging>(request.body)) {
    AdminAnswer reply;
    reply.value = encode(describe_staging());
    answer(token, std::move(reply));
    return;
  }
  if (const auto* transfer = std::get_if<DescribeTransfer>(&request.body)) {
    AdminAnswer reply;
    reply.value = encode(describe_transfer(*transfer));
    answer(token, std::move(reply));
    return;
  }
  if (parked_.size() + deferred_.size() >= options_.ops_max) {  // X6
    AdminAnswer reply;
    reply.code = Code::kBusy;
    reply.message = "too many questions are waiting at this hub";
    answer(token, std::move(reply));
    return;
  }
  if (request.changes_nothing()) {
    if (!answer_read(token, request, appends_)) {
      Parked& parked = parked_.emplace_back();
      parked.what = std::pair{token, request};
      parked.appends = appends_;
    }
    return;
  }
  std::optional<ActivateModel> needs;  // somebody who has verified it
  if (const auto* activate = std::get_if<ActivateModel>(&request.body)) needs = *activate;
  if (const auto* recall = std::get_if<RecallModel>(&request.body); recall != nullptr && !recall->to.empty())
    needs = ActivateModel{recall->name, recall->to};
  if (needs && !state_.outcome(request.id) && edges_ready(*needs) == 0 && now_ < edges_back_until() &&
      by_edge_.size() < state_.edges().size()) {
    // Who has staged what is told by the edges, and after a failover they are still on their way here.
    deferred_.push_back(asked);
    wake(edges_back_until());
    return;
  }
  Result<Op> op = model_write(request, asked.who);
  if (!op) {
    AdminAnswer reply;
    reply.code = op.error().code;
    reply.message = op.error().message;
    answer(token, std::move(reply));
    return;
  }
  if (const auto* put = std::get_if<Put>(&op->body); put != nullptr && !put->writes.empty()) {
    const std::string& last = put->writes.back().key;  // of a model: its log
    if (last.starts_with("model:") && last.ends_with(":history") &&
        model_busy(last.substr(6, last.size() - 6 - 8), request.id)) {
      deferred_.push_back(asked);  // judged anew once the write that is on its way is done
      return;
    }
  }
  op->id = request.id;
  op->asked = token;
  op->began = now_;
  start_write(std::move(*op));
}

bool HubCore::answer_read(AskToken token, const AdminRequest& request, std::uint64_t appends) {
  last_demand_ = now_;
  if (!has_authority(now_)) return false;  // A3
  AdminAnswer reply;
  reply.index = state_.applied();
  if (const auto* read = std::get_if<ReadKey>(&request.body)) {
    if (own_write_in_flight(read->key, appends)) return false;
    auto stored = state_.find(read->key);
    if (stored && stored->value && stored->expires_at > ledger_now()) {
      reply.index = stored->version;
      reply.value = std::move(stored->value);
    } else {
      reply.code = Code::kNotFound;
      reply.message = "no key '" + read->key + "'";
    }
  } else if (const auto* one = std::get_if<DescribeRollout>(&request.body)) {
    reply.value = encode(describe_rollout(one->name));
  } else if (const auto* recalls = std::get_if<DescribeRecalls>(&request.body)) {
    reply.value = encode(describe_recalls(*recalls));
  } else {
    reply.models = describe_models();
  }
  answer(token, std::move(reply));
  return true;
}

std::optional<ModelPointer> HubCore::pointer(const std::string& key, Index* version) const {
  const auto stored = state_.find(key);
  if (version != nullptr) *version = stored ? stored->version : Index{};
  if (!stored || !stored->value) return std::nullopt;
  auto decoded = decode<ModelPointer>(*stored->value, "model pointer");
  if (!decoded) return std::nullopt;
  return *decoded;
}

TrustRead HubCore::trust_read() const {
  return [this](const std::string& key) -> std::pair<std::optional<Bytes>, Index> {
    auto stored = state_.find(key);
    if (!stored || !stored->value) return {};
    return {std::move(stored->value), stored->version};
  };
}

Result<void> HubCore::trusted(const std::string& name, const std::string& version, BytesView signed_manifest,
                              TrustUse use) const {
  return check_release_trust(trust_read(), name, version, signed_manifest, wall_ms_, use);
}

Result<HubCore::Op> HubCore::model_write(const AdminRequest& request, const NodeId& who) {
  Op op;
  if (state_.outcome(request.id)) {  // a retry: start_write answers with what became of it
    op.body = Put{};
    return op;
  }
  const auto busy_with = [&](const std::string& key) {
    return std::any_of(ops_.begin(), ops_.end(), [&](const auto& entry) {
      const auto* put = std::get_if<Put>(&entry.second.body);
      return entry.first != request.id && put != nullptr &&
             std::any_of(put->writes.begin(), put->writes.end(),
                         [&](const KeyWrite& write) { return write.key == key; });
    });
  };
  // The digest of one that may be brought into use so.
  const auto published = [&](const std::string& name, const std::string& version, TrustUse use) -> Result<Bytes> {
    if (const auto ok = not_recalled(name, version); !ok) return fail(ok.error());
    const auto stored = state_.find(model_version_key(name, version));
    if (!stored || !stored->value) {
      return fail(Code::kNotFound, "model '" + name + "' has no published version '" + version + "'; publish it first");
    }
    if (auto ok = trusted(name, version, *stored->value, use); !ok) return fail(ok.error());
    return sha256(*stored->value);
  };

  if (const auto* write = std::get_if<WriteKeys>(&request.body)) {
    if (const auto ok = check_write_extent(write->writes); !ok) return fail(ok.error());
    for (const KeyWrite& one : write->writes) {
      if (const auto ok = validate_key(one.key); !ok) return fail(ok.error());
      if (one.key.starts_with("model:")) {
        return fail(Code::kDenied, "key '" + one.key + "': model keys are written by `tidelock model`");
      }
      if (namespace_of(state_.namespaces(), one.key).scope != Scope::kRegion) {
        return fail(Code::kInvalid,
                    "key '" + one.key + "' belongs to a namespace that never leaves the gateway; write it at an edge");
      }
      if (namespace_of(state_.namespaces(), one.key).write_mode != WriteMode::kThrough) {
        return fail(Code::kInvalid,
                    "key '" + one.key + "' belongs to a write-behind namespace; write it at an edge");  // D8
      }
      if (one.value) {
        if (const auto ok = validate_value(*one.value); !ok) return fail(ok.error());
      }
    }
    op.body = Put{write->writes, {}};
    return op;
  }

  if (const auto* publish =
          std::get_if<PublishModel>(&request.body)) {  // M2; X3: nothing is parsed before its signature
    const auto manifest = open_manifest(publish->signed_manifest, state_.model_key());
    if (!manifest) return fail(manifest.error());
    if (manifest->name != publish->name || manifest->version != publish->version) {
      return fail(Code::kInvalid, "the manifest names " + manifest->name + " " + manifest->version + ", the request " +
                                      publish->name + " " + publish->version);
    }
    if (const auto ok = not_recalled(publish->name, publish->version); !ok) return fail(ok.error());
    const std::string key = model_version_key(publish->name, publish->version);
    if (const auto stored = state_.find(key); stored && stored->value && *stored->value != publish->signed_manifest) {
      return fail(Code::kConflict,
                  "model '" + publish->name + "' version '" + publish->version +
                      "' is published with other content; a version never changes, choose a new number");
    }
    std::vector<KeyWrite> writes = {{key, publish->signed_manifest, 0, false, Condition::kAbsentOrSame, {}}};
    // The same again changes nothing, and is nothing that was done.
    if (!state_.find(key))
      writes.push_back(history_write(model_history_key(publish->name), who, "published " + publish->version));
    op.body = Put{std::move(writes), {}};
    op.model_operation = "model_published";
    return op;
  }

  if (const auto* stage = std::get_if<StageModel>(&request.body)) {  // M3
    if (const auto free = not_rolled_out(stage->name); !free) return fail(free.error());
    auto digest = published(stage->name, stage->version, TrustUse::kNew);
    if (!digest) return fail(digest.error());
    want_short_lease();  // A5: while a rollout is on
    const ModelPointer staged{stage->version, std::move(*digest), {}};
    op.body = Put{{KeyWrite{model_staged_key(stage->name), encode(staged), 0, false, Condition::kNone, {}},
                   history_write(model_history_key(stage->name), who, "staged " + stage->version)},
                  {}};
    op.model_operation = "model_staged";
    return op;
  }

  if (const auto* activate = std::get_if<ActivateModel>(&request.body)) {  // M5
    const std::string key = model_current_key(activate->name);
    if (busy_with(key)) {
      return fail(Code::kConflict,
                  "another activation of '" + activate->name + "' is on its way; wait for it and look again");
    }
    if (const auto free = not_rolled_out(activate->name); !free) return fail(free.error());
    auto digest = published(activate->name, activate->version, TrustUse::kNew);
    if (!digest) return fail(digest.error());
    Index version;
    const auto current = pointer(key, &version);
    if (current && current->version == activate->version) {
      return fail(Code::kConflict, "'" + activate->name + "' " + activate->version + " is in force already (index " +
                                       std::to_string(version.value) + ")");
    }
    if (edges_ready(*activate) == 0 && !TIDELOCK_MUTANT(kUnstagedActivated)) {
      return fail(Code::kConflict, "no connected edge has staged '" + activate->name + "' " + activate->version +
                                       "; run `tidelock model stage` and wait until `tidelock model status` shows it");
    }
    rollout_moved_at_ = now_;
    const ModelPointer next{activate->version, std::move(*digest), current ? current->version : std::string{}};
    op.body = Put{{KeyWrite{key, encode(next), 0, false, Condition::kVersionIs, version},
                   history_write(model_history_key(activate->name), who, "activated " + activate->version)},
                  {}};
    op.model_operation = "model_activated";
    return op;
  }

  if (const auto* rollback = std::get_if<RollbackModel>(&request.body)) {  // S5
    const std::string key = model_current_key(rollback->name);
    if (busy_with(key)) {
      return fail(Code::kConflict,
                  "another activation of '" + rollback->name + "' is on its way; wait for it and look again");
    }
    if (const auto free = not_rolled_out(rollback->name); !free) return fail(free.error());
    Index version;
    const auto current = pointer(key, &version);
    if (!current) return fail(Code::kNotFound, "model '" + rollback->name + "' has no version in force");
    if (current->previous.empty()) {
      return fail(Code::kConflict, "'" + rollback->name + "' " + current->version +
                                       " is the first activation; there is nothing to return to");
    }
    const std::vector<HistoryEntry> log = history(model_history_key(rollback->name));
    if (const HistoryEntry* back = rolled_back_to(log, *current); back != nullptr) {
      return fail(Code::kConflict, "'" + rollback->name + "' " + current->version + " is in force since '" + back->who +
                                       "' rolled back from " + current->previous + " (" + wall_words(back->wall_ms) +
                                       "), and another rollback would return to that; to use " + current->previous +
                                       " again, or another version, say so with `tidelock model activate " +
                                       rollback->name + " VERSION`");
    }
    auto digest = published(rollback->name, current->previous, TrustUse::kBack);
    if (!digest) return fail(digest.error());
    rollout_moved_at_ = now_;
    const ModelPointer next{current->previous, std::move(*digest), current->version};
    op.body = Put{{KeyWrite{key, encode(next), 0, false, Condition::kVersionIs, version},
                   history_write(model_history_key(rollback->name), who,
                                 "rolled back to " + current->previous + " from " + current->version)},
                  {}};
    op.model_operation = "model_rolled_back";
    return op;
  }

  if (const auto* command = std::get_if<RolloutCommand>(&request.body)) {
    if (command->what == RolloutCommand::What::kPlan || command->what == RolloutCommand::What::kStart) {
      // One that was planned is started without naming its version again.
      const auto held = rollout(command->name, nullptr);
      const std::string& version = command->plan.version.empty() && held ? held->plan.version : command->plan.version;
      const auto digest = published(command->name, version, TrustUse::kNew);
      if (!digest && digest.error().code != Code::kNotFound) return fail(digest.error());
    }
    return rollout_command(*command, who);
  }
  if (const auto* recall = std::get_if<RecallModel>(&request.body)) return recall_command(*recall, who);
  if (const auto* push = std::get_if<PushTrust>(&request.body)) {  // X2
    auto put = plan_trust_push(*push, trust_read());
    if (!put) return fail(put.error());
    const auto held = state_.find(kTrustStateKey);
    const Bytes before = held ? held->value.value_or(Bytes()) : Bytes();
    put->writes.push_back(history_write(kTrustHistoryKey, who, describe_trust_push(before, *put->writes.back().value)));
    if (const auto ok = check_write_extent(put->writes); !ok) return fail(ok.error());
    op.body = std::move(*put);
    op.model_operation = "trust_pushed";
    return op;
  }

  const auto& removal = std::get<RemoveEdgeRequest>(request.body);  // A6
  if (!state_.edges().contains(removal.edge))
    return fail(Code::kNotFound, "no edge '" + removal.edge + "' is registered");
  op.body = RemoveEdge{removal.edge};
  return op;
}

std::size_t HubCore::edges_ready(const ActivateModel& activate) const {
  std::size_t ready = 0;
  for (const auto& [edge, conn] : by_edge_) {
    const auto& staged = sessions_.at(conn).staged;
    ready += std::any_of(staged.begin(), staged.end(), [&](const StagedModel& model) {
      return model.name == activate.name && model.version == activate.version;
    });
  }
  return ready;
}

Nanos HubCore::edges_back_until() const { return saturating_add(claimed_at_, 3 * kSecond); }

void HubCore::retry_deferred() {
  for (const HubAsked& asked : std::exchange(deferred_, {})) on_asked(asked);
}

std::vector<ModelView> HubCore::describe_models() const {
  std::map<std::string, ModelView> models;
  for (const std::string& key : state_.keys("model:", 10'000)) {
    const std::size_t colon = key.find(':', 6);
    if (colon == std::string::npos) continue;
    const std::string name = key.substr(6, colon - 6);
    const std::string rest = key.substr(colon + 1);
    ModelView& view = models[name];
    view.name = name;
    if (rest == "current@default") {
      if (const auto current = pointer(key, &view.activation)) {
        view.current = current->version;
        view.previous = current->previous;
      }
    } else if (rest == "staged@default") {
      if (const auto staged = pointer(key, nullptr)) view.staged = staged->version;
    } else if (rest.starts_with("v")) {
      view.published.push_back(rest.substr(1));
    }
  }
  std::vector<ModelView> list;
  for (auto& [name, view] : models) list.push_back(std::move(view));
  return list;
}

bool HubCore::rollout_open() const {
  if (recall_open({})) return true;  // M7: a failover waits for the short lease only (A5)
  for (const std::string& name : rollouts_) {
    const auto held = rollout(name, nullptr);
    if (held && held->under_way() && held->phase != RolloutPhase::kPlanned) return true;
  }
  const std::vector<ModelView> models = describe_models();
  return std::any_of(models.begin(), models.end(), [](const ModelView& model) {
    return !model.staged.empty() && model.staged != model.current && model.staged != model.previous;
  });
}

std::vector<EdgeView> HubCore::describe_edges() const {
  std::vector<EdgeView> list;
  for (const auto& [edge, site] : state_.edges()) {
    EdgeView view;
    view.edge = edge;
    view.site = site;
    if (const auto lease = leases_.find(edge); lease != leases_.end()) {
      view.lease_left_ns = std::max<Nanos>(0, saturating_sub(lease->second, now_));
    }
    if (const auto it = by_edge_.find(edge); it != by_edge_.end()) {
      view.connected = true;
      view.applied = sessions_.at(it->second).applied;
      view.staged = sessions_.at(it->second).staged;
    }
    list.push_back(std::move(view));
  }
  return list;
}

std::vector<EdgeStaging> HubCore::describe_staging() const {
  std::vector<EdgeStaging> list;
  for (const auto& [edge, conn] : by_edge_) {
    for (const Staged& trouble : sessions_.at(conn).troubles) list.push_back({edge, trouble.model, trouble.error});
  }
  return list;
}

}  // namespace tidelock
