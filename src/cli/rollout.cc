#include "cli/rollout.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cli/model_transfer.h"
#include "cli/words.h"
#include "codec/archive.h"
#include "protocol/trust_push.h"

namespace tidelock {
namespace {

constexpr std::size_t kTransfersShown = 8;
constexpr auto kWatchEvery = std::chrono::milliseconds(500);

struct RolloutOptions {
  std::string name, version, waves;
  std::vector<std::string> gates;
  std::string dwell = "10m", patience = "30m";
  std::uint64_t samples = 100;
  bool take_over = false, once = false;
};

Result<RolloutPlan> plan_of(const RolloutOptions& options) {
  RolloutPlan plan;
  plan.version = options.version;
  auto waves = parse_waves(options.waves);
  if (!waves) return fail(Code::kInvalid, "--waves: " + waves.error().message);
  plan.waves = std::move(*waves);
  for (const std::string& text : options.gates) {
    auto gate = parse_gate(text);
    if (!gate) return fail(Code::kInvalid, "--gate: " + gate.error().message);
    plan.gates.push_back(*gate);
  }
  if (plan.gates.empty()) plan.gates = {RolloutGate{}};
  const auto dwell = parse_span(options.dwell);
  if (!dwell) return fail(Code::kInvalid, "--dwell: " + dwell.error().message);
  plan.dwell_ns = *dwell;
  const auto patience = parse_span(options.patience);
  if (!patience) return fail(Code::kInvalid, "--patience: " + patience.error().message);
  plan.patience_ns = *patience;
  plan.samples_min = options.samples;
  if (const auto ok = validate_plan(plan); !ok) return fail(ok.error());
  return plan;
}

struct Seen {
  RolloutView view;
  std::optional<TransferView> transfer;  // of its version
};

Result<RolloutView> view_of(Operator& cluster, const std::string& name) {
  const auto answer = cluster.ask(DescribeRollout{name});
  if (!answer) return fail(answer.error());
  if (answer->code != Code::kOk) return fail(answer->code, answer->message);
  if (!answer->value) return fail(Code::kCorrupt, "the hub's answer has no rollout in it");
  auto view = decode<RolloutView>(*answer->value, "rollout view");
  if (!view || !view->rollout) return view;
  // Which wave a record is of, is in the ledger's own value alone.
  const auto stored = cluster.ask(ReadKey{model_rollout_key(name)});
  const auto rollout =
      stored && stored->value ? decode_rollout(*stored->value) : Result<Rollout>(fail(Code::kNotFound, "no rollout"));
  for (std::size_t i = 0; i < view->rollout->waves.size(); ++i) {
    const bool known = rollout && i < rollout->waves.size() && rollout->started_at == view->rollout->started_at;
    view->rollout->waves[i].wave = known ? rollout->waves[i].wave : static_cast<std::uint32_t>(i);
  }
  return view;
}

Result<Seen> seen_of(Operator& cluster, const std::string& name) {
  auto view = view_of(cluster, name);
  if (!view) return fail(view.error());
  Seen seen{std::move(*view), std::nullopt};
  if (!seen.view.rollout) return seen;
  auto transfer = transfer_of(cluster, name, seen.view.rollout->plan.version);
  if (!transfer) return fail(transfer.error());
  if (transfer->release_bytes > 0) seen.transfer = std::move(*transfer);
  return seen;
}

const WaveRecord* record_of(const Rollout& rollout, std::size_t wave) {
  const auto it =
      std::find_if(rollout.waves.begin(), rollout.waves.end(), [&](const WaveRecord& one) { return one.wave == wave; });
  return it == rollout.waves.end() ? nullptr : &*it;
}

// Of the gateways that the wave brought the version to. A gateway that started again counts from zero, so what the
// ledger has counts where it is more.
BytesSaved wave_bytes(const Rollout& rollout, const WaveRecord& was, const TransferView* transfer) {
  std::size_t have = was.edges - std::min(was.edges, was.stuck_count);
  std::uint64_t fetched = 0;
  if (!was.added.empty()) have = was.edges;
  if (transfer != nullptr) {
    const std::vector<NodeId> members = rollout.members();
    std::size_t rest = 0;
    for (const EdgeTransfer& edge : transfer->edges) {
      const bool its = was.added.empty() ? !std::binary_search(members.begin(), members.end(), edge.edge)
                                         : std::find(was.added.begin(), was.added.end(), edge.edge) != was.added.end();
      if (!its || !edge.connected || !edge.staged) continue;
      ++rest;
      fetched += edge.fetched_bytes;
    }
    if (was.added.empty() && rest > 0) have = rest;  // the others were away all the time
  }
  return {std::max(was.bytes, fetched), rollout.bytes * have};
}

BytesSaved all_bytes(const Rollout& rollout, const TransferView* transfer) {
  if (rollout.under_way() && transfer != nullptr) return saved_by(*transfer);  // those whose wave is to come as well
  BytesSaved all;
  for (const WaveRecord& was : rollout.waves) {
    const BytesSaved one = wave_bytes(rollout, was, transfer);
    all.fetched += one.fetched;
    all.whole += one.whole;
  }
  return all;
}

// What was foreseen against what happened, of the waves that were activated; of times, the last one that passed.
struct Compared {
  std::uint64_t bytes_foreseen = 0, bytes = 0;
  Nanos ended_foreseen_ns = 0, ended_ns = 0;
  double bytes_ratio() const { return static_cast<double>(bytes) / static_cast<double>(bytes_foreseen); }
  double time_ratio() const { return static_cast<double>(ended_ns) / static_cast<double>(ended_foreseen_ns); }
};
std::optional<Compared> compared(const Rollout& rollout, const TransferView* transfer) {
  if (rollout.under_way() || rollout.waves.empty()) return std::nullopt;
  Compared sum;
  for (const WaveRecord& was : rollout.waves) {
    if (was.wave >= rollout.forecast.size()) continue;
    sum.bytes_foreseen += rollout.forecast[was.wave].bytes;
    sum.bytes += wave_bytes(rollout, was, transfer).fetched;
    if (was.ended_at == 0) continue;
    sum.ended_foreseen_ns = rollout.forecast[was.wave].ended_ns;
    sum.ended_ns = was.ended_at - rollout.started_at;
  }
  return sum;
}

std::string times_words(double ratio) {
  char text[32] = {};
  std::snprintf(text, sizeof text, "%.2f", ratio);
  return std::string(text) + " times what was foreseen";
}

std::string compared_words(const Compared& sum) {
  std::string text = "bytes: " + bytes_words(sum.bytes) + " of " + bytes_words(sum.bytes_foreseen) + " foreseen";
  if (sum.bytes_foreseen > 0) text += ", " + times_words(sum.bytes_ratio());
  if (sum.ended_foreseen_ns > 0) {
    text += "; time: " + duration_words(sum.ended_ns) + " of " + duration_words(sum.ended_foreseen_ns) + ", " +
            times_words(sum.time_ratio());
  }
  return text;
}

std::string wave_words(const Rollout& rollout, std::size_t i, const TransferView* transfer) {
  const WaveForecast* foreseen = i < rollout.forecast.size() ? &rollout.forecast[i] : nullptr;
  std::string text = "  wave " + std::to_string(i + 1) + "  " + describe(rollout.plan.waves[i]);
  if (foreseen != nullptr) {
    text += "  foreseen: " + std::to_string(foreseen->edges) + " gateways, " + bytes_words(foreseen->bytes) +
            ", done after " + duration_words(foreseen->ended_ns) + (foreseen->measured ? "" : " (links not measured)");
  }
  const WaveRecord* record = record_of(rollout, i);
  if (record == nullptr) return text + (i < rollout.wave ? "; added nobody" : "");
  const WaveRecord& was = *record;
  const BytesSaved bytes = wave_bytes(rollout, was, transfer);
  text += "; was: " + std::to_string(was.edges) + " gateways, " + bytes_words(bytes.fetched) + ", " +
          bytes_words(bytes.saved()) + " saved";
  if (was.ended_at > 0) text += ", done after " + duration_words(was.ended_at - rollout.started_at);
  if (was.stuck_count > 0) {
    text += "; went on without";
    for (const NodeId& edge : was.stuck) text += " " + edge;
    if (was.stuck_count > was.stuck.size()) text += " and " + std::to_string(was.stuck_count - was.stuck.size());
  }
  return text;
}

std::string_view verdict_name(GateVerdict verdict) {
  switch (verdict) {
    case GateVerdict::kTooFewSamples: return "too few samples";
    case GateVerdict::kHolds: return "holds";
    case GateVerdict::kFails: return "fails";
  }
  return "";
}

int command(const Common& common, RolloutCommand request, const std::string& next_step) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto answer = (*cluster)->ask(request);
  if (!answer) return report(common, answer.error());
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  const auto seen = seen_of(**cluster, request.name);
  if (!seen) return report(common, seen.error());
  const TransferView* transfer = seen->transfer ? &*seen->transfer : nullptr;
  Json json = rollout_json(request.name, seen->view, transfer);
  json["index"] = answer->index.value;
  return done(common, std::move(json),
              rollout_words(request.name, seen->view, transfer) + (next_step.empty() ? "" : "\n" + next_step));
}

bool ended(const RolloutView& view) { return !view.rollout || !view.rollout->under_way(); }

// What a change is: not the time that is left, nor every frame that a gate counts.
Json without_clocks(Json json) {
  json.erase("eta_ms");
  for (Json& gate : json["gates"]) {
    gate.erase("value");
    gate.erase("samples");
  }
  return json;
}

// On a terminal the picture is drawn over itself; elsewhere each change is one line, with --json one object.
int watch(const Common& common, const RolloutOptions& options) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const bool terminal = ::isatty(1) == 1 && !common.json && !options.once;
  std::string shown;
  Json shown_json;
  std::size_t lines = 0;
  for (;;) {
    const auto seen = seen_of(**cluster, options.name);
    if (!seen) return report(common, seen.error(), "`tidelock --config FILE status` shows which hub is active");
    const RolloutView& view = seen->view;
    const TransferView* transfer = seen->transfer ? &*seen->transfer : nullptr;
    if (!view.rollout) {
      return report(common, Error{Code::kNotFound, "no rollout of '" + options.name + "' was ever planned", {}, 0},
                    "tidelock rollout plan " + options.name + " VERSION --waves \"canary=yes,10%,50%,100%\"");
    }
    Json json = rollout_json(options.name, view, transfer);
    const std::string words = rollout_words(options.name, view, transfer);
    if (options.once || ended(view)) {
      if (terminal && lines > 0) std::printf("\x1b[%zuA\x1b[J", lines);
      if (options.once || view.rollout->phase == RolloutPhase::kDone) return done(common, std::move(json), words);
      json["ok"] = false;
      json["code"] = phase_name(view.rollout->phase);
      json["message"] = view.rollout->reason;
      std::cout << (common.json ? json.dump() : words) << std::endl;
      return 1;
    }
    if (terminal) {
      if (lines > 0) std::printf("\x1b[%zuA\x1b[J", lines);
      std::printf("%s\n", words.c_str());
      lines = static_cast<std::size_t>(std::count(words.begin(), words.end(), '\n')) + 1;
      std::fflush(stdout);
    } else if (common.json) {
      if (Json now = without_clocks(json); now != shown_json) {
        std::cout << json.dump() << std::endl;
        shown_json = std::move(now);
      }
    } else {
      const std::string first = words.substr(0, words.find('\n'));
      if (first != shown) std::cout << first << std::endl;
      shown = first;
    }
    std::this_thread::sleep_for(kWatchEvery);
  }
}

// X2: who pushed trust files. They decide for every model, and are kept in a log of their own.
Result<std::vector<HistoryEntry>> trust_history(Operator& cluster) {
  const auto answer = cluster.ask(ReadKey{kTrustHistoryKey});
  if (!answer) return fail(answer.error());
  if (answer->code == Code::kNotFound) return std::vector<HistoryEntry>{};
  if (answer->code != Code::kOk) return fail(answer->code, answer->message);
  return decode<std::vector<HistoryEntry>>(answer->value.value_or(Bytes()), "history");
}

int history(const Common& common, const std::string& name) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  std::vector<HistoryEntry> log;
  if (!name.empty()) {
    auto view = view_of(**cluster, name);
    if (!view) return report(common, view.error());
    log = std::move(view->history);
  }
  auto pushed = trust_history(**cluster);
  if (!pushed) return report(common, pushed.error());
  // Both are in order. Of a model nothing is told from before there was anything of it.
  const std::uint64_t since_ms = name.empty() ? 0 : log.empty() ? UINT64_MAX : log.front().wall_ms;
  const auto from = std::find_if(pushed->begin(), pushed->end(),
                                 [&](const HistoryEntry& entry) { return entry.wall_ms >= since_ms; });
  std::vector<HistoryEntry> all;
  std::merge(log.begin(), log.end(), from, pushed->end(), std::back_inserter(all),
             [](const HistoryEntry& a, const HistoryEntry& b) { return a.wall_ms < b.wall_ms; });
  Json entries = Json::array();
  std::string text;
  for (const HistoryEntry& entry : all) {
    entries.push_back({{"wall_ms", entry.wall_ms}, {"who", entry.who}, {"what", entry.what}});
    text += (text.empty() ? "" : "\n") + date_words(entry.wall_ms) + "  " + shown_text(entry.who) + "  " +
            shown_text(entry.what);
  }
  return done(common, {{"name", name}, {"history", entries}},
              !text.empty()  ? text
              : name.empty() ? "no trust files were pushed yet"
                             : "nothing was done with '" + name + "' yet");
}

}  // namespace

Result<Nanos> parse_span(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  Nanos nanos = 0;
  if (unit == "ms") nanos = kMillisecond;
  if (unit == "s") nanos = kSecond;
  if (unit == "m") nanos = 60 * kSecond;
  if (unit == "h") nanos = 3600 * kSecond;
  if (unit == "d") nanos = 24 * 3600 * kSecond;
  if (error != std::errc{} || nanos == 0 || value < 0 || value > kRolloutTimeMax / nanos) {
    return fail(Code::kInvalid,
                "'" + std::string(text.substr(0, 32)) + "' is no time; write 500ms, 90s, 10m, 2h or at most 30d");
  }
  return value * nanos;
}

std::string date_words(std::uint64_t wall_ms) {
  const auto seconds = static_cast<std::time_t>(wall_ms / 1'000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%SZ", &parts);
  return text;
}

Nanos rollout_eta(const RolloutView& view) {
  if (!view.rollout) return kForever;
  const Rollout& rollout = *view.rollout;
  if (rollout.phase != RolloutPhase::kStaging && rollout.phase != RolloutPhase::kDwelling) return kForever;
  Nanos left = 0;
  if (rollout.phase == RolloutPhase::kDwelling) {
    const Nanos dwelt = rollout.since == 0 ? 0 : view.ledger_now - rollout.since;
    left = std::max<Nanos>(0, rollout.plan.dwell_ns - dwelt);
  }
  const Nanos passed = view.ledger_now - rollout.started_at;
  for (std::size_t i = rollout.wave + (rollout.phase == RolloutPhase::kDwelling); i < rollout.forecast.size(); ++i) {
    const WaveForecast& wave = rollout.forecast[i];
    // Edges stage all the time, so what a wave waits for counts from the start.
    left = std::max(left, wave.activated_ns - passed) + (wave.ended_ns - wave.activated_ns);
  }
  return left;
}

std::string rollout_words(const std::string& name, const RolloutView& view, const TransferView* transfer) {
  if (!view.rollout) return "no rollout of '" + name + "' was ever planned";
  const Rollout& rollout = *view.rollout;
  const std::size_t waves = rollout.plan.waves.size();
  std::string text = name + " " + rollout.plan.version + "  " + std::string(phase_name(rollout.phase));
  if (rollout.under_way() && rollout.phase != RolloutPhase::kPlanned) {
    text += ", wave " + std::to_string(rollout.wave + 1) + " of " + std::to_string(waves) + " (" +
            describe(rollout.plan.waves[rollout.wave]) + ")";
  }
  text += ", held by " + shown_text(rollout.holder);
  if (!rollout.reason.empty()) text += ": " + shown_text(rollout.reason);
  const std::size_t passed = static_cast<std::size_t>(std::count_if(
      rollout.waves.begin(), rollout.waves.end(), [](const WaveRecord& one) { return one.ended_at > 0; }));
  text += "\n" + progress_bar(view.adopted, view.registered) + " in force on " + std::to_string(view.adopted) + " of " +
          std::to_string(view.registered) + " gateways; staged on " + std::to_string(view.staged) + " of " +
          std::to_string(view.reachable) + " that can be reached; " + std::to_string(passed) + " of " +
          std::to_string(waves) + " waves passed";
  if (view.wanted > 0) text += "; this wave takes " + std::to_string(view.wanted) + " more";
  if (const Nanos eta = rollout_eta(view); eta != kForever) text += "; about " + duration_words(eta) + " left";
  if (const BytesSaved bytes = all_bytes(rollout, transfer); bytes.whole > 0) text += "\n  " + saved_words(bytes);
  if (transfer != nullptr && rollout.under_way()) text += transfer_lines(*transfer, kTransfersShown);
  for (std::size_t i = 0; i < waves; ++i) text += "\n" + wave_words(rollout, i, transfer);
  if (const auto sum = compared(rollout, transfer)) text += "\n  " + compared_words(*sum);
  for (const GateFigure& figure : view.gates) {
    text += "\n  gate  " + describe(figure.gate) + "  is " + gate_value(figure) + " of " +
            std::to_string(figure.samples) + " samples: " + std::string(verdict_name(figure.verdict));
  }
  return text;
}

Json rollout_json(const std::string& name, const RolloutView& view, const TransferView* transfer) {
  Json json{{"name", name}};
  if (!view.rollout) return json;
  const Rollout& rollout = *view.rollout;
  json["version"] = rollout.plan.version;
  json["phase"] = phase_name(rollout.phase);
  json["holder"] = rollout.holder;
  json["reason"] = rollout.reason;
  json["before"] = rollout.before.version;
  json["wave"] = rollout.wave + 1;
  json["registered"] = view.registered;
  json["reachable"] = view.reachable;
  json["staged"] = view.staged;
  json["in_force"] = view.adopted;
  json["ahead"] = rollout.members();
  const Nanos eta = rollout_eta(view);
  json["eta_ms"] = eta == kForever ? Json(nullptr) : Json(eta / kMillisecond);
  const BytesSaved all = all_bytes(rollout, transfer);
  json["fetched_bytes"] = all.fetched;
  json["whole_bytes"] = all.whole;
  json["saved_bytes"] = all.saved();
  json["transfers"] = Json::array();
  if (transfer != nullptr && rollout.under_way()) json["transfers"] = transfer_json(*transfer)["gateways"];
  for (Json& one : json["transfers"]) one.erase("eta_ms");
  if (const auto sum = compared(rollout, transfer)) {
    json["compared"] = {{"bytes_foreseen", sum->bytes_foreseen},
                        {"bytes", sum->bytes},
                        {"bytes_ratio", sum->bytes_foreseen == 0 ? Json(nullptr) : Json(sum->bytes_ratio())},
                        {"ended_foreseen_ms", sum->ended_foreseen_ns / kMillisecond},
                        {"ended_ms", sum->ended_ns / kMillisecond},
                        {"time_ratio", sum->ended_foreseen_ns == 0 ? Json(nullptr) : Json(sum->time_ratio())}};
  }
  json["waves"] = Json::array();
  for (std::size_t i = 0; i < rollout.plan.waves.size(); ++i) {
    Json wave{{"wave", describe(rollout.plan.waves[i])}};
    if (i < rollout.forecast.size()) {
      const WaveForecast& foreseen = rollout.forecast[i];
      wave["foreseen"] = {{"gateways", foreseen.edges},
                          {"bytes", foreseen.bytes},
                          {"activated_ms", foreseen.activated_ns / kMillisecond},
                          {"ended_ms", foreseen.ended_ns / kMillisecond},
                          {"measured", foreseen.measured}};
    }
    if (const WaveRecord* record = record_of(rollout, i)) {
      const WaveRecord& was = *record;
      const auto after = [&](Nanos at) {
        return at == 0 ? Json(nullptr) : Json((at - rollout.started_at) / kMillisecond);
      };
      const BytesSaved bytes = wave_bytes(rollout, was, transfer);
      wave["was"] = {{"gateways", was.edges},           {"bytes", bytes.fetched},
                     {"saved_bytes", bytes.saved()},    {"activated_ms", after(was.activated_at)},
                     {"ended_ms", after(was.ended_at)}, {"stuck", was.stuck},
                     {"stuck_count", was.stuck_count}};
    }
    json["waves"].push_back(std::move(wave));
  }
  json["gates"] = Json::array();
  for (const GateFigure& figure : view.gates) {
    json["gates"].push_back({{"gate", describe(figure.gate)},
                             {"value", gate_value(figure)},
                             {"samples", figure.samples},
                             {"verdict", verdict_name(figure.verdict)}});
  }
  return json;
}

void add_history(CLI::App& model, const Common& common, int& exit_code) {
  const auto name = std::make_shared<std::string>();
  auto* command = model.add_subcommand("history", "who did what with a model, and when");
  command->footer(
      "Pushes of trust files are told with every model, for they decide what may be installed; without a name, they\n"
      "alone.\n"
      "example: tidelock --config client.toml model history detector");
  command->add_option("name", *name, "of the model");
  command->callback([name, &common, &exit_code] { exit_code = history(common, *name); });
}

void add_rollout(CLI::App& app, const Common& common, int& exit_code) {
  const auto options = std::make_shared<RolloutOptions>();
  auto* rollout = app.add_subcommand("rollout", "bring a version to the fleet in waves, each behind gates");
  rollout->require_subcommand(1);
  rollout->footer(
      "A wave is a label (canary=yes: every gateway that says so in its edge.toml), a count (5) or a share (10%), "
      "counted\n"
      "from the first gateway on; the last one is 100%. With the start the whole fleet stages the version, whatever "
      "its\n"
      "wave: so each wave comes into force within a round trip, and a version that the first wave sends back has cost\n"
      "every gateway its bytes. (To pay for a few gateways only, try it on a cluster of their own.) A wave begins "
      "when\n"
      "its gateways have staged, dwells, and passes when every gate holds. A gate that fails takes every gateway back\n"
      "by itself. Whoever plans a rollout holds it: anybody may pause or abort it, the holder makes it go on.\n"
      "the life of a rollout: plan -> start -> (waves) -> done; pause, resume and abort on the way; watch shows it");
  const auto names = [&](CLI::App* command) { command->add_option("name", options->name, "of the model")->required(); };
  const auto plans = [&](CLI::App* command) {
    command->add_option("--waves", options->waves, "labels, counts and shares, with commas between");
    command->add_option("--gate", options->gates,
                        "error_rate<0.01, p99_ms<50, drift<0.2 or sick<1, as apps tell with TL.HEALTH; repeatable");
    command->add_option("--dwell", options->dwell, "how long a wave is watched at least")->capture_default_str();
    command
        ->add_option("--patience", options->patience,
                     "how long a wave waits for gateways that do not stage, and for figures of its gates")
        ->capture_default_str();
    command->add_option("--samples", options->samples, "frames that a rate or a latency needs to say anything")
        ->capture_default_str();
  };
  const auto takes_over = [&](CLI::App* command) {
    command->add_flag("--take-over", options->take_over, "although another operator holds it");
  };
  const auto run = [options, &common, &exit_code](RolloutCommand::What what, const std::string& next_step) {
    RolloutCommand request{what, options->name, {}, options->take_over};
    if (!options->version.empty()) {
      auto plan = plan_of(*options);
      if (!plan) {
        exit_code = report(common, plan.error(), "`tidelock rollout plan --help` has an example");
        return;
      }
      request.plan = std::move(*plan);
    }
    exit_code = command(common, std::move(request), next_step);
  };
  using What = RolloutCommand::What;

  auto* plan = rollout->add_subcommand("plan", "say how; nothing happens yet");
  plan->footer(
      "It answers what it foresees of each wave: gateways, the bytes that hubs send them for the version, and when it\n"
      "is done. By what gateways that have it took, else by the rollout before, else by the version in force, else "
      "all\n"
      "of the release; a site whose gateways give each other the files counts once. Times are by what links did "
      "lately\n"
      "and by budgets that gateways say are used up. When the rollout has ended, `watch` compares.\n"
      "example: tidelock --config client.toml rollout plan detector 2.0.0 --waves \"canary=yes,10%,50%,100%\" "
      "--gate \"error_rate<0.01\" --dwell 10m");
  names(plan);
  plan->add_option("version", options->version, "published")->required();
  plans(plan);
  takes_over(plan);
  plan->get_option("--waves")->required();
  plan->callback([run, options] { run(What::kPlan, "next: tidelock rollout start " + options->name); });

  auto* start = rollout->add_subcommand("start", "begin what is planned; with a version, plan and begin at once");
  start->footer(
      "example: tidelock --config client.toml rollout start detector\n"
      "example: tidelock --config client.toml rollout start detector 2.0.0 --waves \"5,100%\" --gate \"p99_ms<50\"");
  names(start);
  start->add_option("version", options->version, "published; without it, what was planned");
  plans(start);
  takes_over(start);
  start->callback([run, options] {
    if (!options->version.empty() && options->waves.empty()) options->waves = "100%";
    run(What::kStart, "watch it: tidelock rollout watch " + options->name);
  });

  auto* pause = rollout->add_subcommand("pause", "let no further wave begin; a gate that fails still takes it back");
  pause->footer("example: tidelock --config client.toml rollout pause detector");
  names(pause);
  pause->callback([run, options] { run(What::kPause, "next: tidelock rollout resume " + options->name); });

  auto* resume = rollout->add_subcommand("resume", "go on where it was paused");
  resume->footer("example: tidelock --config client.toml rollout resume detector");
  names(resume);
  takes_over(resume);
  resume->callback([run] { run(What::kResume, {}); });

  auto* abort = rollout->add_subcommand("abort", "end it: every gateway returns to the version before");
  abort->footer("example: tidelock --config client.toml rollout abort detector");
  names(abort);
  abort->callback([run] { run(What::kAbort, {}); });

  auto* watch_command = rollout->add_subcommand("watch", "see how it goes until it ends");
  watch_command->footer(
      "Exit code 0: it is done everywhere; 1: it was rolled back or aborted. Elsewhere than on a terminal each change\n"
      "is one line. With --json that is one object of what is true then, and the last one, with `ok`, says how it\n"
      "ended; that only eta_ms, or value and samples of a gate are others is no change.\n"
      "example: tidelock --config client.toml rollout watch detector");
  names(watch_command);
  watch_command->add_flag("--once", options->once, "show it once and exit");
  watch_command->callback([options, &common, &exit_code] { exit_code = watch(common, *options); });
}

}  // namespace tidelock
