#include "cli/rollout.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <memory>
#include <thread>

#include "cli/words.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

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

const WaveRecord* record_of(const Rollout& rollout, std::size_t wave) {
  const auto it =
      std::find_if(rollout.waves.begin(), rollout.waves.end(), [&](const WaveRecord& one) { return one.wave == wave; });
  return it == rollout.waves.end() ? nullptr : &*it;
}

std::string wave_words(const Rollout& rollout, std::size_t i) {
  const WaveForecast* foreseen = i < rollout.forecast.size() ? &rollout.forecast[i] : nullptr;
  std::string text = "  wave " + std::to_string(i + 1) + "  " + describe(rollout.plan.waves[i]);
  if (foreseen != nullptr) {
    text += "  foreseen: " + std::to_string(foreseen->edges) + " gateways, " + bytes_words(foreseen->bytes) +
            ", done after " + duration_words(foreseen->ended_ns) + (foreseen->measured ? "" : " (links not measured)");
  }
  const WaveRecord* record = record_of(rollout, i);
  if (record == nullptr) return text + (i < rollout.wave ? "; added nobody" : "");
  const WaveRecord& was = *record;
  text += "; was: " + std::to_string(was.edges) + " gateways, " + bytes_words(was.bytes);
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

std::string bar(std::size_t done, std::size_t of) {
  constexpr std::size_t kWidth = 30;
  const std::size_t filled = of == 0 ? kWidth : std::min(kWidth, done * kWidth / of);
  return "[" + std::string(filled, '#') + std::string(kWidth - filled, ' ') + "]";
}

int command(const Common& common, RolloutCommand request, const std::string& next_step) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto answer = (*cluster)->ask(request);
  if (!answer) return report(common, answer.error());
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  const auto view = view_of(**cluster, request.name);
  if (!view) return report(common, view.error());
  Json json = rollout_json(request.name, *view);
  json["index"] = answer->index.value;
  return done(common, std::move(json),
              rollout_words(request.name, *view) + (next_step.empty() ? "" : "\n" + next_step));
}

bool ended(const RolloutView& view) { return !view.rollout || !view.rollout->under_way(); }

// On a terminal the picture is drawn over itself; elsewhere each change is one line; with --json only the end is said.
int watch(const Common& common, const RolloutOptions& options) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const bool terminal = ::isatty(1) == 1 && !common.json && !options.once;
  std::string shown;
  std::size_t lines = 0;
  for (;;) {
    const auto view = view_of(**cluster, options.name);
    if (!view) return report(common, view.error(), "`tidelock --config FILE status` shows which hub is active");
    if (!view->rollout) {
      return report(common, Error{Code::kNotFound, "no rollout of '" + options.name + "' was ever planned", {}, 0},
                    "tidelock rollout plan " + options.name + " VERSION --waves \"canary=yes,10%,50%,100%\"");
    }
    if (options.once || ended(*view)) {
      if (terminal && lines > 0) std::printf("\x1b[%zuA\x1b[J", lines);
      Json json = rollout_json(options.name, *view);
      if (options.once || view->rollout->phase == RolloutPhase::kDone)
        return done(common, std::move(json), rollout_words(options.name, *view));
      json["ok"] = false;
      json["code"] = phase_name(view->rollout->phase);
      json["message"] = view->rollout->reason;
      std::cout << (common.json ? json.dump() : rollout_words(options.name, *view)) << std::endl;
      return 1;
    }
    const std::string words = rollout_words(options.name, *view);
    if (terminal) {
      if (lines > 0) std::printf("\x1b[%zuA\x1b[J", lines);
      std::printf("%s\n", words.c_str());
      lines = static_cast<std::size_t>(std::count(words.begin(), words.end(), '\n')) + 1;
      std::fflush(stdout);
    } else if (!common.json) {
      const std::string first = words.substr(0, words.find('\n'));
      if (first != shown) std::cout << first << std::endl;
      shown = first;
    }
    std::this_thread::sleep_for(kWatchEvery);
  }
}

int history(const Common& common, const std::string& name) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto view = view_of(**cluster, name);
  if (!view) return report(common, view.error());
  Json entries = Json::array();
  std::string text;
  for (const HistoryEntry& entry : view->history) {
    entries.push_back({{"wall_ms", entry.wall_ms}, {"who", entry.who}, {"what", entry.what}});
    text += (text.empty() ? "" : "\n") + date_words(entry.wall_ms) + "  " + shown_text(entry.who) + "  " +
            shown_text(entry.what);
  }
  return done(common, {{"name", name}, {"history", entries}},
              text.empty() ? "nothing was done with '" + name + "' yet" : text);
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

std::string rollout_words(const std::string& name, const RolloutView& view) {
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
  text += "\n" + bar(view.adopted, view.registered) + " in force on " + std::to_string(view.adopted) + " of " +
          std::to_string(view.registered) + " gateways; staged on " + std::to_string(view.staged) + " of " +
          std::to_string(view.reachable) + " that can be reached; " + std::to_string(passed) + " of " +
          std::to_string(waves) + " waves passed";
  if (view.wanted > 0) text += "; this wave takes " + std::to_string(view.wanted) + " more";
  if (const Nanos eta = rollout_eta(view); eta != kForever) text += "; about " + duration_words(eta) + " left";
  for (std::size_t i = 0; i < waves; ++i) text += "\n" + wave_words(rollout, i);
  for (const GateFigure& figure : view.gates) {
    text += "\n  gate  " + describe(figure.gate) + "  is " + gate_value(figure) + " of " +
            std::to_string(figure.samples) + " samples: " + std::string(verdict_name(figure.verdict));
  }
  return text;
}

Json rollout_json(const std::string& name, const RolloutView& view) {
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
      wave["was"] = {{"gateways", was.edges},           {"bytes", was.bytes}, {"activated_ms", after(was.activated_at)},
                     {"ended_ms", after(was.ended_at)}, {"stuck", was.stuck}, {"stuck_count", was.stuck_count}};
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
  command->footer("example: tidelock --config client.toml model history detector");
  command->add_option("name", *name)->required();
  command->callback([name, &common, &exit_code] { exit_code = history(common, *name); });
}

void add_rollout(CLI::App& app, const Common& common, int& exit_code) {
  const auto options = std::make_shared<RolloutOptions>();
  auto* rollout = app.add_subcommand("rollout", "bring a version to the fleet in waves, each behind gates");
  rollout->require_subcommand(1);
  rollout->footer(
      "A wave is a label (canary=yes: every gateway that says so in its edge.toml), a count (5) or a share (10%), "
      "counted\n"
      "from the first gateway on; the last one is 100%. Gateways of a wave stage the version first; then it comes "
      "into\n"
      "force on them at once, dwells, and passes when every gate holds. A gate that fails takes every gateway back by\n"
      "itself. Whoever plans a rollout holds it: anybody may pause or abort it, the holder makes it go on.\n"
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
      "It answers what it foresees of each wave: gateways, bytes, and when it is done, by what their links did "
      "lately.\n"
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
      "Exit code 0: it is done everywhere; 1: it was rolled back or aborted.\n"
      "example: tidelock --config client.toml rollout watch detector");
  names(watch_command);
  watch_command->add_flag("--once", options->once, "show it once and exit");
  watch_command->callback([options, &common, &exit_code] { exit_code = watch(common, *options); });
}

}  // namespace tidelock
