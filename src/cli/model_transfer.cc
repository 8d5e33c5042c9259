#include "cli/model_transfer.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "cli/rollout.h"
#include "cli/words.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(500);
constexpr std::size_t kLinesMax = 16;  // of gateways that have not staged it

struct StageOptions {
  std::string name, version;
  std::string patience = "1h";
  bool wait = false;
};

std::string gateways(std::size_t count) { return std::to_string(count) + (count == 1 ? " gateway" : " gateways"); }

struct Counts {
  std::size_t reachable = 0, staged = 0;
  std::uint64_t fetched = 0, expected = 0;  // of those that can be reached
};
Counts counted(const TransferView& view) {
  Counts counts;
  for (const EdgeTransfer& edge : view.edges) {
    if (!edge.connected) continue;
    ++counts.reachable;
    counts.staged += edge.staged;
    counts.fetched += edge.fetched_bytes;
    counts.expected += edge.expected_bytes;
  }
  return counts;
}

// M3: why edges have not staged what they should; empty too where the hub is of a build that does not keep it.
std::vector<EdgeStaging> staging(Operator& cluster, const NodeId& hub, int timeout_ms) {
  const auto answer = cluster.ask_one(hub, DescribeStaging{}, timeout_ms);
  if (!answer || answer->code != Code::kOk || !answer->value) return {};
  return decode<std::vector<EdgeStaging>>(*answer->value, "staging").value_or(std::vector<EdgeStaging>{});
}

// From a hub that does not know of DescribeTransfer.
Result<TransferView> staged_only(Operator& cluster, const std::string& name, const std::string& version) {
  constexpr int kTimeoutMs = 3'000;
  const auto models = cluster.ask(DescribeModels{});  // says who is active
  if (!models) return fail(models.error());
  const auto seen = cluster.ask_one(models->hub, DescribeCluster{}, kTimeoutMs);
  if (!seen) return fail(seen.error());
  TransferView view;
  const StagedModel model{name, version};
  for (const EdgeView& edge : seen->edges) {
    EdgeTransfer& one = view.edges.emplace_back();
    one.edge = edge.edge;
    one.site = edge.site;
    one.connected = edge.connected;
    one.staged = std::find(edge.staged.begin(), edge.staged.end(), model) != edge.staged.end();
  }
  for (const EdgeStaging& trouble : staging(cluster, models->hub, kTimeoutMs)) {
    for (EdgeTransfer& one : view.edges) {
      if (one.edge == trouble.edge && trouble.model == model) one.why = trouble.why;
    }
  }
  return view;
}

// The words are the same on a terminal and elsewhere, where only the first line is said, when it changes.
std::string waiting_words(const std::string& what, const TransferView& view) {
  const Counts counts = counted(view);
  std::string text = what + "  " +
                     (counts.expected > 0 ? progress_bar(counts.fetched, counts.expected)
                                          : progress_bar(counts.staged, counts.reachable)) +
                     " staged on " + std::to_string(counts.staged) + " of " + gateways(counts.reachable) +
                     " that can be reached";
  if (counts.expected > 0)
    text += "; " + bytes_words(counts.fetched) + " of about " + bytes_words(counts.expected) + " fetched";
  Nanos eta = 0;
  for (const EdgeTransfer& edge : view.edges) {
    if (edge.connected && !edge.staged) eta = std::max(eta, transfer_eta(edge));
  }
  if (eta > 0 && eta != kForever) text += "; about " + duration_words(eta) + " left";
  return text;
}

int said(const Common& common, const TransferView& view, Json json, const std::string& code, const std::string& why) {
  json["ok"] = false;
  json["code"] = code;
  json["message"] = why;
  std::cout << (common.json ? json.dump() : why + transfer_lines(view, kLinesMax)) << std::endl;
  return 1;
}

// Until every gateway that can be reached has it. Drawn over itself on a terminal.
int await(const Common& common, Operator& cluster, const StageOptions& options, Nanos patience_ns, Json json) {
  const ElapsedClock clock;
  const Nanos until = saturating_add(clock.now(), patience_ns);
  const bool terminal = ::isatty(1) == 1 && !common.json;
  const std::string what = options.name + " " + options.version;
  std::string shown;
  std::size_t lines = 0;
  for (;;) {
    const auto models = cluster.ask(DescribeModels{});
    if (!models) return report(common, models.error(), what + " is being staged all the same");
    const auto view = transfer_of(cluster, options.name, options.version);
    if (!view) return report(common, view.error(), what + " is being staged all the same");
    const Counts counts = counted(*view);
    json["transfer"] = transfer_json(*view);
    if (lines > 0) std::printf("\x1b[%zuA\x1b[J", lines);
    if (counts.reachable > 0 && counts.staged == counts.reachable) {
      return done(common, std::move(json),
                  what + " is staged on all " + gateways(counts.reachable) + " that can be reached, " +
                      std::to_string(view->edges.size() - counts.reachable) + " are away; " +
                      saved_words(saved_by(*view)));
    }
    const auto named = std::find_if(models->models.begin(), models->models.end(),
                                    [&](const ModelView& model) { return model.name == options.name; });
    if (named == models->models.end() || (named->staged != options.version && named->current != options.version)) {
      return said(common, *view, std::move(json), "conflict",
                  what + " is not staged any more: " +
                      (named == models->models.end() || named->staged.empty() ? "nothing" : named->staged) +
                      " is in its place");
    }
    if (clock.now() >= until) {
      return said(common, *view, std::move(json), "waiting",
                  what + " is staged on " + std::to_string(counts.staged) + " of " + gateways(counts.reachable) +
                      " that can be reached; the others go on by themselves");
    }
    const std::string words = waiting_words(what, *view);
    const std::string state = std::to_string(counts.staged) + "/" + std::to_string(counts.reachable);
    if (terminal) {
      const std::string drawn = words + transfer_lines(*view, kLinesMax);
      lines = static_cast<std::size_t>(std::count(drawn.begin(), drawn.end(), '\n')) + 1;
      std::printf("%s\n", drawn.c_str());
      std::fflush(stdout);
    } else if (!common.json && state != shown) {
      std::cout << words << std::endl;
    }
    shown = state;
    std::this_thread::sleep_for(kLookEvery);
  }
}

int stage(const Common& common, const StageOptions& options) {
  const auto patience = parse_span(options.patience);
  if (!patience) return report(common, Error{Code::kInvalid, "--wait-for: " + patience.error().message, {}, 0});
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto answer = (*cluster)->ask(StageModel{options.name, options.version});
  if (!answer)
    return report(common, answer.error(), "is a majority of the hubs up? try `tidelock --config FILE status`");
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  Json json{{"index", answer->index.value}, {"hub", answer->hub}, {"term", answer->term.value}};
  if (options.wait) return await(common, **cluster, options, *patience, std::move(json));
  return done(common, std::move(json),
              options.name + " " + options.version + " is being staged (index " + std::to_string(answer->index.value) +
                  "); watch: tidelock model status " + options.name);
}

int status(const Common& common, const std::string& name) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto models = (*cluster)->ask(DescribeModels{});
  if (!models) return report(common, models.error());
  const auto model = std::find_if(models->models.begin(), models->models.end(),
                                  [&](const ModelView& one) { return one.name == name; });
  if (model == models->models.end()) {
    return report(
        common,
        Error{Code::kNotFound, "no model '" + name + "'; `tidelock model list` shows what is published", {}, 0});
  }
  const std::string& version = model->staged.empty() ? model->current : model->staged;
  const auto view = transfer_of(**cluster, name, version);
  if (!view) return report(common, view.error());
  Json json = model_json(*model);
  Json staged = Json::array();
  std::string text;
  for (const EdgeTransfer& edge : view->edges) {
    if (!edge.staged || model->staged.empty()) continue;
    staged.push_back(edge.edge);
    text += " " + edge.edge;
  }
  json["staged_edges"] = staged;
  json["edges"] = view->edges.size();
  json["transfer"] = transfer_json(*view);
  json["transfer"]["version"] = version;
  std::string why;
  if (view->release_bytes > 0 && !version.empty()) why += "\n  " + version + ": " + saved_words(saved_by(*view));
  TransferView lines = *view;
  for (EdgeTransfer& edge : lines.edges) {  // why it waits has a line of its own below, and waiting has no end to tell
    if (!edge.why.empty()) edge.link_bytes_per_s = 0;
    edge.why.clear();
  }
  if (!version.empty()) why += transfer_lines(lines, kLinesMax);
  Json waiting = Json::array();
  for (const EdgeStaging& one : staging(**cluster, models->hub, common.timeout_ms)) {
    if (one.model.name != name || (one.model.version != model->staged && one.model.version != model->current)) continue;
    waiting.push_back({{"edge", one.edge}, {"version", one.model.version}, {"why", one.why}});
    why += "\n  " + one.edge + " has not staged " + one.model.version + ": " + one.why;
  }
  json["waiting"] = waiting;
  Json came = Json::array();
  const SiteView sites = (*cluster)->ask_sites(models->hub, common.timeout_ms);
  for (const SiteMember& edge : sites.members) {
    std::string from;
    for (const ModelBytes& one : edge.bytes) {
      if (one.name != name || (one.version != model->staged && one.version != model->current)) continue;
      came.push_back({{"edge", edge.edge}, {"version", one.version}, {"from", one.from}, {"bytes", one.bytes}});
      from += (from.empty() ? "" : ", ") + std::to_string(one.bytes) + " bytes of " + one.version + " from " + one.from;
    }
    if (!from.empty()) why += "\n  " + edge.edge + " got " + from;
  }
  json["came"] = came;
  return done(common, json,
              name + ": in force " + (model->current.empty() ? "none" : model->current) + " (index " +
                  std::to_string(model->activation.value) + "), staged " +
                  (model->staged.empty() ? "none" : model->staged) + ", verified by " + std::to_string(staged.size()) +
                  " of " + std::to_string(view->edges.size()) + " edges:" + text + why);
}

}  // namespace

Json model_json(const ModelView& model) {
  return {{"name", model.name},
          {"current", model.current},
          {"previous", model.previous},
          {"staged", model.staged},
          {"activation", model.activation.value},
          {"published", model.published}};
}

BytesSaved saved_by(const TransferView& view) {
  BytesSaved bytes;
  for (const EdgeTransfer& edge : view.edges) {
    if (!edge.connected || !edge.staged) continue;
    bytes.fetched += edge.fetched_bytes;
    bytes.whole += view.release_bytes;
  }
  return bytes;
}

Result<TransferView> transfer_of(Operator& cluster, const std::string& name, const std::string& version) {
  const auto answer = cluster.ask(DescribeTransfer{name, version});
  // A hub that does not know the question cannot read it: kCorrupt, or kInvalid where it says so.
  if (!answer && answer.error().code != Code::kInvalid && answer.error().code != Code::kCorrupt)
    return fail(answer.error());
  if (!answer || answer->code != Code::kOk || !answer->value) return staged_only(cluster, name, version);
  return decode<TransferView>(*answer->value, "transfer view");
}

int transfer_share(const EdgeTransfer& edge) {
  if (edge.staged) return 100;
  if (!edge.connected || edge.expected_bytes == 0) return -1;
  return static_cast<int>(std::min<double>(
      99.0, 100.0 * static_cast<double>(edge.fetched_bytes) / static_cast<double>(edge.expected_bytes)));
}

Nanos transfer_eta(const EdgeTransfer& edge) {
  if (edge.staged) return 0;
  if (!edge.connected || edge.link_bytes_per_s == 0 || edge.why.starts_with("paused: ")) return kForever;
  if (edge.expected_bytes <= edge.fetched_bytes) return kForever;  // it verifies, or waits for a neighbour
  return static_cast<Nanos>(static_cast<double>(edge.expected_bytes - edge.fetched_bytes) /
                            static_cast<double>(edge.link_bytes_per_s) * 1e9);
}

std::string progress_bar(std::uint64_t done, std::uint64_t of) {
  constexpr std::size_t kWidth = 30;
  const double part = of == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(of));
  const auto filled = static_cast<std::size_t>(part * kWidth);
  return "[" + std::string(filled, '#') + std::string(kWidth - filled, ' ') + "]";
}

std::string saved_words(const BytesSaved& bytes) {
  return bytes_words(bytes.fetched) + " fetched from hubs instead of " + bytes_words(bytes.whole) + ": " +
         bytes_words(bytes.saved()) + " saved";
}

std::string transfer_lines(const TransferView& view, std::size_t lines_max) {
  std::string text;
  std::size_t lines = 0, more = 0;
  for (const EdgeTransfer& edge : view.edges) {
    if (!edge.connected || edge.staged) continue;
    if (++lines > lines_max) {
      ++more;
      continue;
    }
    text += "\n  " + edge.edge;
    if (const int share = transfer_share(edge); share >= 0) {
      text += "  " + progress_bar(static_cast<std::uint64_t>(share), 100) + " " + std::to_string(share) + " %, " +
              bytes_words(edge.fetched_bytes) + " of about " + bytes_words(edge.expected_bytes);
    } else {
      text += "  has not staged it";
    }
    if (edge.link_bytes_per_s > 0) text += ", " + bytes_words(edge.link_bytes_per_s) + "/s";
    if (const Nanos eta = transfer_eta(edge); eta != kForever) text += ", about " + duration_words(eta) + " left";
    if (!edge.why.empty()) text += ": " + shown_text(edge.why);
  }
  if (more > 0) text += "\n  and " + std::to_string(more) + " more";
  return text;
}

Json transfer_json(const TransferView& view) {
  const Counts counts = counted(view);
  const BytesSaved bytes = saved_by(view);
  Json list = Json::array();
  for (const EdgeTransfer& edge : view.edges) {
    Json one{{"edge", edge.edge}, {"site", edge.site}, {"reachable", edge.connected}};
    if (edge.connected) {
      const int share = transfer_share(edge);
      const Nanos eta = transfer_eta(edge);
      one["staged"] = edge.staged;
      one["fetched_bytes"] = edge.fetched_bytes;
      one["expected_bytes"] = edge.expected_bytes;
      one["share_percent"] = share < 0 ? Json(nullptr) : Json(share);
      one["link_bytes_per_s"] = edge.link_bytes_per_s;
      one["eta_ms"] = eta == kForever ? Json(nullptr) : Json(eta / kMillisecond);
      one["why"] = edge.why;
    }
    list.push_back(std::move(one));
  }
  return {{"release_bytes", view.release_bytes}, {"registered", view.edges.size()},
          {"reachable", counts.reachable},       {"staged", counts.staged},
          {"fetched_bytes", bytes.fetched},      {"whole_bytes", bytes.whole},
          {"saved_bytes", bytes.saved()},        {"gateways", list}};
}

void add_model_transfer(CLI::App& model, const Common& common, int& exit_code) {
  const auto options = std::make_shared<StageOptions>();
  auto* stage_command = model.add_subcommand("stage", "let every edge fetch and verify a version in the background");
  stage_command->footer(
      "It returns at once, and gateways go on by themselves. --wait shows how far each is, until all that can be\n"
      "reached have verified the version: exit code 0. At the end of --wait-for it names those that have not, and "
      "why:\n"
      "exit code 1. Shares and times are by what the version took on others, and by what the links did lately.\n"
      "example: tidelock --config client.toml model stage detector 2.0.0 --wait");
  stage_command->add_option("name", options->name)->required();
  stage_command->add_option("version", options->version)->required();
  stage_command->add_flag("--wait", options->wait, "until every gateway that can be reached has staged it");
  stage_command->add_option("--wait-for", options->patience, "how long --wait waits")->capture_default_str();
  stage_command->callback([options, &common, &exit_code] { exit_code = stage(common, *options); });

  const auto name = std::make_shared<std::string>();
  auto* state = model.add_subcommand("status", "what is in force, staged and verified where; how far transfers are");
  state->footer("example: tidelock --config client.toml model status detector --json");
  state->add_option("name", *name)->required();
  state->callback([name, &common, &exit_code] { exit_code = status(common, *name); });
}

}  // namespace tidelock
