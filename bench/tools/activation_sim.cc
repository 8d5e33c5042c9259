// Activations of a staged version on many gateways behind a slow link, in virtual time: a hub's core and one core for
// each gateway, the very objects of the product, over a network and a ledger that only take time. Prints one JSON
// object.
//
//   bench-activation-sim [GATEWAYS [ROUND_TRIP_MS [JITTER_MS [COMMIT_MS [ACTIVATIONS [SEED]]]]]]
//
// What is not in it: the time that processors take. A hub step for 200 sessions takes well below a millisecond; the
// same with real sessions is measured beside it (activation.py).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "protocol/edge_core.h"
#include "protocol/hub_core.h"
#include "protocol/map_memory_fixture.h"
#include "protocol/map_rows_fixture.h"

namespace {

using namespace tidelock;

constexpr char kModel[] = "detector";

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench-activation-sim: %s\n", why.c_str());
  std::exit(1);
}
template <class T>
T must(Result<T> result) {
  if (!result) die(result.error().message);
  return std::move(*result);
}

struct Settings {
  int gateways = 200;
  Nanos round_trip = 100 * kMillisecond, jitter = 0, commit = 5 * kMillisecond;
  int activations = 50;
  std::uint64_t seed = 1;
};

class NoStore final : public EdgeStore {
 public:
  std::optional<EdgeEntry> find(std::string_view) const override { return std::nullopt; }
};

class World {
 public:
  explicit World(const Settings& settings) : settings_(settings), rng_(settings.seed), key_(must(make_signing_key())) {
    HubOptions options;
    options.id = "hub-1";
    options.boot = Boot{1};
    options.seed.namespaces = default_namespaces();
    options.seed.model_key = key_.public_pem;
    hub_ = std::make_unique<HubCore>(options, rows_);
    step_hub(HubVersions{kLedgerVersion});
    step_hub(HubLeadership{true, "hub-1"});
    for (int i = 0; i < settings_.gateways; ++i) edges_.push_back(std::make_unique<Gateway>());
    for (std::size_t i = 0; i < edges_.size(); ++i) start(i);
  }

  // Versions published, staged everywhere, the second one in force.
  void prepare() {
    run_until("every session is open", [this] {
      return std::ranges::all_of(edges_, [](const auto& edge) { return edge->core->session_open(); });
    });
    for (const char* version : {"1.0.0", "2.0.0"}) {
      Manifest manifest;
      manifest.name = kModel;
      manifest.version = version;
      manifest.files.push_back({"model.onnx", FileRole::kModel, 3, sha256(version)});
      ask(PublishModel{kModel, version, encode(must(sign_manifest(manifest, key_.private_pem)))});
      ask(StageModel{kModel, version});
      run_until("every gateway has staged it", [&] { return hub_->edges_ready({kModel, version}) == edges_.size(); });
      ask(ActivateModel{kModel, version});
    }
    rest();
    windows_.clear();
  }
  // Milliseconds from the request at the hub to its answer, and to the last gateway's page.
  struct Took {
    double answered_ms = 0, shown_ms = 0;
  };
  Took activate() {  // there and back: gateways keep the version before
    const Nanos began = now_;
    changed_ = 0;
    std::swap(in_force_, before_);
    ask(ActivateModel{kModel, in_force_});
    Took took;
    took.answered_ms = ms(now_ - began);
    run_until("every gateway shows it", [this] { return changed_ >= edges_.size(); });
    took.shown_ms = ms(now_ - began);
    rest();
    return took;
  }
  const std::vector<double>& windows() const { return windows_; }  // of blocks, in ms
  static double ms(Nanos span) { return static_cast<double>(span) / static_cast<double>(kMillisecond); }

 private:
  struct Gateway {
    MapMemory memory;
    NoStore store;
    std::unique_ptr<EdgeCore> core;
    LinkNo link;
    std::uint64_t conn = 0;
    Nanos last_up = 0, last_down = 0, wake_at = kForever;
    int open_blocks = 0;
    Nanos blocked_since = 0;
  };
  struct Due {
    Nanos at;
    std::uint64_t number;  // in the order in which they were planned
    std::function<void()> what;
    bool operator<(const Due& other) const { return std::pair(at, number) > std::pair(other.at, other.number); }
  };

  void plan(Nanos at, std::function<void()> what) { due_.push({std::max(at, now_), ++planned_, std::move(what)}); }
  bool next() {
    if (due_.empty()) return false;
    Due due = due_.top();
    due_.pop();
    now_ = due.at;
    due.what();
    return true;
  }
  template <class Until>
  void run_until(const char* what, Until until) {
    for (const Nanos most = now_ + 600 * kSecond; !until();) {
      if (!next() || now_ > most) die(std::string("it never comes that ") + what);
    }
  }
  // Until nothing of an activation is on its way, and at a random place between two heartbeats.
  void rest() {
    bool over = false;
    plan(now_ + 2 * kSecond + static_cast<Nanos>(rng_.below(1'000)) * kMillisecond, [&] { over = true; });
    run_until("time passes", [&] { return over; });
  }
  Nanos travel() {
    return settings_.round_trip / 2 +
           static_cast<Nanos>(rng_.below(static_cast<std::uint64_t>(settings_.jitter / 2 + 1)));
  }

  void ask(decltype(AdminRequest::body) body) {
    const std::uint64_t token = ++tokens_;
    step_hub(HubAsked{AskToken{token}, AdminRequest{CommandId{88, token}, std::move(body)}, "operator"});
    run_until("the hub answers", [&] { return answers_.contains(token); });
    const AdminAnswer& answer = answers_.at(token);
    if (answer.code != Code::kOk) die(answer.message);
  }

  void start(std::size_t number) {
    EdgeOptions options;
    options.id = "edge-" + std::to_string(number + 1);
    options.site = "site-" + std::to_string(number / 4 + 1);
    options.boot = Boot{number + 1};
    options.writer = number + 1;
    Gateway& edge = *edges_[number];
    edge.core =
        std::make_unique<EdgeCore>(options, edge.memory, edge.store,
                                   must(Outbox::restore({}, {}, now_, 1'000, Rng(rng_.next()))), Rng(rng_.next()));
    step_edge(number, EdgeTick{});
  }

  void step_edge(std::size_t number, decltype(EdgeEvent::what) what) {
    Gateway& edge = *edges_[number];
    EdgeActions actions;
    edge.core->step(EdgeEvent{now_, std::move(what)}, actions);
    for (auto& op : actions.ops) std::visit([&](auto& one) { carry_out(number, edge, one); }, op);
    edge.wake_at = actions.wake_at;
    if (actions.wake_at == kForever) return;
    plan(actions.wake_at, [this, number, at = actions.wake_at] {
      if (edges_[number]->wake_at == at) step_edge(number, EdgeTick{});
    });
  }
  template <class Other>
  void carry_out(std::size_t, Gateway&, Other&) {}
  void carry_out(std::size_t, Gateway& edge, EntryPut& put) { edge.memory.put(put.key, put.entry); }
  void carry_out(std::size_t, Gateway& edge, EntryErase& erase) { edge.memory.erase(erase.key); }
  void carry_out(std::size_t number, Gateway&, OutboxPersist& rows) {
    plan(now_, [this, number, persisted = rows.number] {
      step_edge(number, EdgeOutboxPersisted{persisted, AckLevel::kDisk});
    });
  }
  void carry_out(std::size_t number, Gateway& edge, LinkOpen& open) {
    edge.link = open.link;
    edge.conn = ++conns_;
    edge_of_[edge.conn] = number;
    edge.last_up = now_ + travel();
    plan(edge.last_up, [this, number, conn = edge.conn] {
      step_hub(HubConnected{ConnId{conn}, "edge-" + std::to_string(number + 1)});
    });
    edge.last_down = edge.last_up + travel();
    plan(edge.last_down, [this, number, link = open.link] { step_edge(number, EdgeLinkUp{link}); });
  }
  void carry_out(std::size_t, Gateway& edge, LinkSend& send) {
    if (send.link != edge.link) return;
    edge.last_up = std::max(edge.last_up, now_ + travel());  // a stream: nothing overtakes
    plan(edge.last_up, [this, conn = edge.conn, frame = std::move(send.frame)]() mutable {
      step_hub(HubFrameIn{ConnId{conn}, std::move(frame)});
    });
  }
  void carry_out(std::size_t number, Gateway&, StrongChanged& changed) {
    if (changed.key == model_current_key(kModel)) ++changed_;
    if (changed.key != model_staged_key(kModel) || !changed.value) return;
    const auto pointer = must(decode<ModelPointer>(*changed.value, "pointer"));
    plan(now_ + kSecond, [this, number, version = pointer.version] {  // fetched and verified
      step_edge(number, EdgeStagedModel{{kModel, version}, ""});
    });
  }
  void carry_out(std::size_t, Gateway& edge, PageOpenBlock&) {
    if (edge.open_blocks++ == 0) edge.blocked_since = now_;
  }
  void carry_out(std::size_t, Gateway& edge, PageCloseBlock&) {
    if (--edge.open_blocks == 0) windows_.push_back(ms(now_ - edge.blocked_since));
  }

  void step_hub(decltype(HubEvent::what) what) {
    HubActions actions;
    hub_->step(HubEvent{now_, std::move(what), 1'000}, actions);
    if (actions.stop) die(*actions.stop);
    rows_.commit(actions.rows);
    for (auto& append : actions.append) {
      last_commit_ = std::max(last_commit_, now_ + settings_.commit);
      plan(last_commit_, [this, command = std::move(append.command)]() mutable {
        step_hub(HubCommitted{Index{++index_}, std::move(command)});
      });
    }
    for (auto& send : actions.send) {
      const std::size_t number = edge_of_.at(send.conn.value);
      Gateway& edge = *edges_[number];
      if (edge.conn != send.conn.value) continue;
      edge.last_down = std::max(edge.last_down, now_ + travel());
      plan(edge.last_down, [this, number, link = edge.link, frame = std::move(send.frame)]() mutable {
        step_edge(number, EdgeFrameIn{link, std::move(frame)});
      });
    }
    if (!actions.close.empty()) die("the hub ended a session: " + actions.close[0].reason);
    for (auto& answer : actions.answers) answers_[answer.token.value] = std::move(answer.answer);
    hub_wake_ = actions.wake_at;
    if (actions.wake_at == kForever) return;
    plan(actions.wake_at, [this, at = actions.wake_at] {
      if (hub_wake_ == at) step_hub(HubTick{});
    });
  }

  const Settings settings_;
  Rng rng_;
  const SigningKey key_;
  MapRows rows_;
  std::unique_ptr<HubCore> hub_;
  std::vector<std::unique_ptr<Gateway>> edges_;
  std::map<std::uint64_t, std::size_t> edge_of_;  // by connection
  std::priority_queue<Due> due_;
  std::string in_force_ = "2.0.0", before_ = "1.0.0";
  Nanos now_ = 1'000 * kSecond, hub_wake_ = kForever, last_commit_ = 0;
  std::uint64_t planned_ = 0, index_ = 0, conns_ = 0, tokens_ = 0;
  std::size_t changed_ = 0;
  std::map<std::uint64_t, AdminAnswer> answers_;
  std::vector<double> windows_;
};

double quantile(std::vector<double> samples, double q) {
  std::sort(samples.begin(), samples.end());
  return samples.at(std::min(samples.size() - 1, static_cast<std::size_t>(q * static_cast<double>(samples.size()))));
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  const auto number = [&](int at, long long least, long long most, long long otherwise) {
    if (at >= argc) return otherwise;
    char* end = nullptr;
    const long long value = std::strtoll(argv[at], &end, 10);
    if (*end != '\0' || value < least || value > most)
      die(std::string("argument ") + std::to_string(at) + " = '" + argv[at] + "': must be " + std::to_string(least) +
          " to " + std::to_string(most));
    return value;
  };
  settings.gateways = static_cast<int>(number(1, 1, 10'000, 200));
  settings.round_trip = number(2, 0, 10'000, 100) * kMillisecond;
  settings.jitter = number(3, 0, 10'000, 0) * kMillisecond;
  settings.commit = number(4, 0, 10'000, 5) * kMillisecond;
  settings.activations = static_cast<int>(number(5, 1, 100'000, 50));
  settings.seed = static_cast<std::uint64_t>(number(6, 0, 1'000'000'000, 1));
  World world(settings);
  world.prepare();
  std::vector<double> answered, shown;
  for (int i = 0; i < settings.activations; ++i) {
    const World::Took took = world.activate();
    answered.push_back(took.answered_ms);
    shown.push_back(took.shown_ms);
  }
  if (world.windows().size() < answered.size() * static_cast<std::size_t>(settings.gateways))
    die("some gateways never showed a block");
  std::printf(
      "{\"activations\":%zu,\"answered_ms_p50\":%.3f,\"answered_ms_max\":%.3f,\"shown_ms_p50\":%.3f,"
      "\"shown_ms_max\":%.3f,\"windows\":%zu,\"window_ms_p50\":%.3f,\"window_ms_p99\":%.3f}\n",
      answered.size(), quantile(answered, 0.5), quantile(answered, 1), quantile(shown, 0.5), quantile(shown, 1),
      world.windows().size(), quantile(world.windows(), 0.5), quantile(world.windows(), 0.99));
  return 0;
}
