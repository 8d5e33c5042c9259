// Recalls in the state machine (M7). Rows:
//
//   r NAME:VERSION   RecallState
//   k NAME:VERSION   its certificate
//
// A version is recalled once and for ever: what nobody may use must not come back because somebody forgot why. Whoever
// wants the same bytes again publishes them under another number.

#include <utility>

#include "base/assert.h"
#include "base/mutant.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "protocol/admin.h"
#include "protocol/state_machine.h"

namespace tidelock {
namespace {

constexpr std::string_view kPrefix = "model:";
constexpr std::string_view kCurrent = ":current@default", kStaged = ":staged@default", kRing = ":current@next";

Bytes recall_row(char kind, const std::string& name, const std::string& version) {
  return std::string(1, kind) + name + ":" + version;
}

void refuse(Applied& applied, Code code, std::string message) {
  applied.effective = false;
  applied.code = code;
  applied.message = std::move(message);
}

}  // namespace

std::optional<ModelVersion> version_named(std::string_view key, BytesView value) {
  if (!key.starts_with(kPrefix)) return std::nullopt;
  for (const std::string_view suffix : {kCurrent, kStaged, kRing}) {
    if (!key.ends_with(suffix) || key.size() <= kPrefix.size() + suffix.size()) continue;
    std::string name(key.substr(kPrefix.size(), key.size() - kPrefix.size() - suffix.size()));
    if (suffix == kRing) {
      auto ring = decode<RingPointer>(value, "ring pointer");
      if (!ring || ring->pointer.version.empty()) return std::nullopt;
      return ModelVersion{std::move(name), std::move(ring->pointer.version)};
    }
    auto pointer = decode<ModelPointer>(value, "model pointer");
    if (!pointer || pointer->version.empty()) return std::nullopt;
    return ModelVersion{std::move(name), std::move(pointer->version)};
  }
  return std::nullopt;
}

void StateMachine::load_recalls() {
  recalls_.clear();
  uncertified_.clear();
  visit("r", [this](std::string_view, std::string_view value) {
    auto recall = decode<RecallState>(value, "recall");
    TIDELOCK_ASSERT(recall.has_value());
    ModelVersion which{recall->asked.name, recall->asked.version};
    if (recall->certified.value == 0) uncertified_.insert(which);
    recalls_.emplace(std::move(which), std::move(*recall));
    return true;
  });
}

bool StateMachine::is_recalled(const std::string& name, const std::string& version) const {
  return recalls_.contains({name, version}) && !TIDELOCK_MUTANT(kRecalledComesBack);
}

std::optional<RecallCertificate> StateMachine::certificate(const std::string& name, const std::string& version) const {
  const auto bytes = row(recall_row('k', name, version));
  if (!bytes) return std::nullopt;
  auto decoded = decode<RecallCertificate>(*bytes, "recall certificate");
  TIDELOCK_ASSERT(decoded.has_value());
  return std::move(*decoded);
}

std::optional<ModelVersion> StateMachine::puts_recalled_in_force(const Put& put) const {
  if (recalls_.empty()) return std::nullopt;
  for (const KeyWrite& write : put.writes) {
    if (!write.value) continue;
    auto named = version_named(write.key, *write.value);
    if (named && is_recalled(named->first, named->second)) return named;
  }
  return std::nullopt;
}

// Whether a pointer would name the version even behind the writes of the certificate.
bool StateMachine::still_named(const CertifyRecall& certify) const {
  const std::string& name = certify.certificate.name;
  for (const std::string& key : {model_current_key(name), model_ring_key(name), model_staged_key(name)}) {
    bool moved = false;
    for (const KeyWrite& write : certify.put.writes) moved = moved || (write.key == key && !only_asks(write));
    if (moved) continue;  // to what is not recalled, as run(Put) sees to it
    const auto held = find(key);
    const auto named = held && held->value ? version_named(key, *held->value) : std::nullopt;
    if (named && named->second == certify.certificate.version) return true;
  }
  return false;
}

void StateMachine::run(Applied& applied, const RecallVersion& recall) {
  if (!seeded_) return refuse(applied, Code::kUnavailable, "the cluster has no settings yet");
  if (const auto ok = validate_model_name(recall.name); !ok) return refuse(applied, Code::kInvalid, ok.error().message);
  if (const auto ok = validate_model_version(recall.version); !ok)
    return refuse(applied, Code::kInvalid, ok.error().message);
  if (!recall.to.empty()) {
    if (const auto ok = validate_model_version(recall.to); !ok)
      return refuse(applied, Code::kInvalid, ok.error().message);
  }
  if (recall.reason.size() > kRecallReasonMax || recall.who.size() > kNodeIdBytesMax)
    return refuse(applied, Code::kInvalid, "reason or name of a recall is too long");
  const ModelVersion which{recall.name, recall.version};
  if (recalls_.contains(which)) {  // with effect: every retry of this id gets the same answer
    applied.code = Code::kConflict;
    applied.message = recall.name + " " + recall.version + " was recalled before";
    return;
  }
  if (recalls_.size() >= kRecallsMax) {
    return refuse(applied, Code::kInvalid,
                  "there are " + std::to_string(recalls_.size()) + " recalls already; more are not kept");
  }
  const RecallState state{recall, applied.index, {}};
  put_row(recall_row('r', recall.name, recall.version), encode(state));
  recalls_.emplace(which, state);
  uncertified_.insert(which);
}

void StateMachine::run(Applied& applied, const CertifyRecall& certify) {
  const RecallCertificate& given = certify.certificate;
  const auto it = recalls_.find({given.name, given.version});
  if (it == recalls_.end())
    return refuse(applied, Code::kInvalid, given.name + " " + given.version + " was never recalled");
  if (it->second.certified.value != 0) {
    applied.code = Code::kConflict;
    applied.message = "certified before, at index " + std::to_string(it->second.certified.value);
    return;
  }
  if (still_named(certify)) return refuse(applied, Code::kConflict, "a pointer still names the version");
  if (!certify.put.writes.empty()) {
    run(applied, certify.put);
    if (!applied.effective || applied.code != Code::kOk) return;
  }
  RecallCertificate certificate = given;
  certificate.index = it->second.certified = applied.index;
  uncertified_.erase(it->first);
  put_row(recall_row('r', given.name, given.version), encode(it->second));
  put_row(recall_row('k', given.name, given.version), encode(certificate));
}

}  // namespace tidelock
