// For tests: one hub after the other over one ledger, and what a fleet and its operators do with a model. Appends
// commit at once, and gateways answer at once, unless told otherwise.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "protocol/hub_core.h"
#include "protocol/map_rows_fixture.h"

namespace tidelock {

struct ModelBench {
  ModelBench() : key(*make_signing_key()) { start("hub-1"); }

  void start(const NodeId& id) {
    HubOptions options;
    options.id = id;
    options.boot = Boot{++boots};
    options.seed.namespaces = default_namespaces();
    options.seed.model_key = key.public_pem;
    core = std::make_unique<HubCore>(options, rows);
    sessions.clear();
    step(HubLeadership{true, id});
    now += 10 * kSecond;  // past A4, and past the time that edges have to come back
    step(HubTick{});
  }
  void step(decltype(HubEvent::what) what) {
    std::deque<decltype(HubEvent::what)> queue{std::move(what)};
    while (!queue.empty()) {
      HubActions actions;
      core->step(HubEvent{now, std::move(queue.front()), 1'000}, actions);
      queue.pop_front();
      rows.commit(actions.rows);
      for (auto& append : actions.append) {
        if (!lost) queue.push_back(HubCommitted{Index{++index}, append.command});
      }
      for (auto& answer : actions.answers) answers[answer.token.value] = answer.answer;
      for (auto& send : actions.send) {
        sent[send.conn.value].push_back(send.frame);
        const auto* block = std::get_if<Block>(&send.frame.body);
        if (block != nullptr && !silent.contains(send.conn.value))
          queue.push_back(frame(send.conn.value, BlockAck{block->term, block->number}));
      }
    }
  }
  decltype(HubEvent::what) frame(std::uint64_t conn, decltype(EdgeFrame::body) body) {
    return HubFrameIn{ConnId{conn}, EdgeFrame{SessionNo{1}, ++sessions[conn], std::move(body)}};
  }
  void connect(int number, const Labels& labels = {}, std::uint32_t protocol = kProtocolVersion) {
    const auto conn = static_cast<std::uint64_t>(number);
    const NodeId id = "edge-" + std::to_string(number);
    step(HubConnected{ConnId{conn}, id});
    step(frame(conn, Hello{protocol, id, "site", Boot{1}, {}, {}, staged[id]}));
    if (protocol >= kProtocolVersionRings) step(frame(conn, EdgeReport{labels, 0, {}}));
  }
  // That gateway gets, or renews, its lease.
  void lease(int number) { step(frame(static_cast<std::uint64_t>(number), Probe{Nonce{++nonces}, true, 0, true})); }
  void stage(int number, const std::string& version) {
    const NodeId id = "edge-" + std::to_string(number);
    staged[id].push_back({"m", version});
    step(frame(static_cast<std::uint64_t>(number), Staged{{"m", version}, ""}));
  }
  void report(int number, std::uint64_t frames, std::uint64_t errors, const std::string& version = "2.0.0") {
    ModelHealth health;
    health.name = "m";
    health.version = version;
    health.in_force = true;
    health.frames = frames;
    health.errors = errors;
    step(frame(static_cast<std::uint64_t>(number), EdgeReport{{}, 0, {health}}));
  }
  AdminAnswer ask(decltype(AdminRequest::body) body, const NodeId& who = "alice") {
    const std::uint64_t token = ++tokens;
    step(HubAsked{AskToken{token}, AdminRequest{CommandId{88, token}, std::move(body)}, who});
    return answers[token];
  }
  void publish(const std::string& version) {
    const AdminAnswer answer = try_publish(version);
    ASSERT_EQ(answer.code, Code::kOk) << answer.message;
  }
  AdminAnswer try_publish(const std::string& version) {
    Manifest manifest;
    manifest.name = "m";
    manifest.version = version;
    manifest.files.push_back({"model.onnx", FileRole::kModel, 3, sha256(version)});
    return ask(PublishModel{"m", version, encode(*sign_manifest(manifest, key.private_pem))});
  }
  // Four edges on 1.0.0, and 2.0.0 published.
  void ready() {
    step(HubVersions{kLedgerVersion});
    for (int i = 1; i <= 4; ++i) connect(i);
    publish("1.0.0");
    ASSERT_EQ(ask(StageModel{"m", "1.0.0"}).code, Code::kOk);
    for (int i = 1; i <= 4; ++i) stage(i, "1.0.0");
    ASSERT_EQ(ask(ActivateModel{"m", "1.0.0"}).code, Code::kOk);
    publish("2.0.0");
  }
  RolloutCommand start_of(const std::string& waves) {
    RolloutCommand command{RolloutCommand::What::kStart, "m", {}, false};
    command.plan.version = "2.0.0";
    command.plan.waves = *parse_waves(waves);
    command.plan.gates = {*parse_gate("error_rate<0.1")};
    command.plan.dwell_ns = 10 * kSecond;
    command.plan.patience_ns = 60 * kSecond;
    return command;
  }
  void after(Nanos span) {
    for (const Nanos until = now + span; now < until;) {
      now += 100 * kMillisecond;
      step(HubTick{});
    }
  }
  std::optional<StoredValue> value(const std::string& name) { return core->state().find(name); }
  Rollout rollout() { return *decode_rollout(*value(model_rollout_key("m"))->value); }
  std::vector<NodeId> ahead() {
    const auto stored = value(model_ring_key("m"));
    return stored ? decode<RingPointer>(*stored->value, "ring")->members : std::vector<NodeId>{};
  }
  std::string current() { return pointer(model_current_key("m")); }
  std::string pointer(const std::string& name) {  // empty: it names nothing
    const auto stored = value(name);
    return stored && stored->value ? decode<ModelPointer>(*stored->value, "pointer")->version : std::string();
  }

  SigningKey key;
  MapRows rows;
  std::unique_ptr<HubCore> core;
  Nanos now = 1'000 * kSecond;
  std::uint64_t index = 0, boots = 0, tokens = 0, nonces = 0;
  bool lost = false;                                    // what is appended now never commits
  std::set<std::uint64_t> silent;                       // connections that acknowledge nothing
  std::map<std::uint64_t, std::vector<HubFrame>> sent;  // to each connection
  std::map<std::uint64_t, std::uint64_t> sessions;
  std::map<NodeId, std::vector<StagedModel>> staged;
  std::map<std::uint64_t, AdminAnswer> answers;
};

}  // namespace tidelock
