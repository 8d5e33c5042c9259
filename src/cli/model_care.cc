// The node does the work on a thread of its own; here it is begun, watched, and shown. All nodes that are asked begin
// at once. A store that no process holds is read here.

#include "cli/model_care.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cli/edge_link.h"
#include "cli/words.h"
#include "store/models/store_care.h"

namespace tidelock {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);
constexpr std::size_t kLinesMax = 50;  // of a report, unless all are asked for

struct CareOptions {
  EdgePlace place;
  std::string hub, store;
  bool repair = false, dry_run = false, all = false, imported = false;
};

// A node whose store is looked after: an edge, or one hub.
struct Node {
  std::string name;
  std::function<Result<void>(StoreWork work, bool dry_run)> begin;
  std::function<Result<Json>()> look;
  Result<Json> end = Json();
  bool done = false;
};

Result<Json> parsed(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_object()) return json;
  return fail(Code::kCorrupt, "the node's answer is no JSON object; is it of this version?");
}

Code code_of(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Code::kDenied); ++i) {
    if (code_name(static_cast<Code>(i)) == name) return static_cast<Code>(i);
  }
  return Code::kUnavailable;
}

Result<RespValue> ask_edge(RespClient& edge, std::vector<std::string> words, int timeout_ms) {
  words.insert(words.begin(), "TL.MODEL");
  auto reply = edge.call(words, timeout_ms * kMillisecond);
  if (reply && reply->is_error()) return fail(error_of_reply(reply->text));
  return reply;
}

Result<std::vector<Node>> edge_node(const Common& common, const EdgePlace& place, const std::string& bundle = {}) {
  auto connected = connect_edge(place, common.timeout_ms);
  if (!connected) return fail(connected.error());
  const auto edge = std::make_shared<RespClient>(std::move(*connected));
  std::vector<Node> nodes(1);
  nodes[0].name = place.address();
  nodes[0].begin = [edge, ms = common.timeout_ms, bundle](StoreWork work, bool dry_run) -> Result<void> {
    std::vector<std::string> words{work == StoreWork::kVerify   ? "VERIFY"
                                   : work == StoreWork::kRepair ? "REPAIR"
                                   : work == StoreWork::kImport ? "IMPORT"
                                                                : "GC"};
    if (work == StoreWork::kImport) words.push_back(bundle);
    if (work == StoreWork::kCollectImported) words.emplace_back("IMPORTED");
    if (dry_run) words.emplace_back("DRYRUN");
    const auto reply = ask_edge(*edge, std::move(words), ms);
    return reply ? Result<void>() : Result<void>(fail(reply.error()));
  };
  nodes[0].look = [edge, ms = common.timeout_ms]() -> Result<Json> {
    const auto reply = ask_edge(*edge, {"LOOK"}, ms);
    if (!reply) return fail(reply.error());
    return parsed(reply->text);
  };
  return nodes;
}

Result<std::vector<Node>> hub_nodes(const Common& common, const CareOptions& options) {
  auto connected = connect(common);
  if (!connected) return fail(connected.error());
  const std::shared_ptr<Operator> cluster = std::move(*connected);
  cluster->learn();
  std::vector<Node> nodes;
  for (const NodeId& id : cluster->hubs()) {
    if (!options.hub.empty() && id != options.hub) continue;
    const auto ask = [cluster, id, ms = common.timeout_ms](StoreCall call) -> Result<AdminAnswer> {
      auto answer = cluster->ask_store(id, call, ms);
      if (answer && answer->code != Code::kOk) return fail(answer->code, answer->message);
      return answer;
    };
    Node& node = nodes.emplace_back();
    node.name = id;
    node.begin = [ask](StoreWork work, bool dry_run) -> Result<void> {
      const auto what = work == StoreWork::kVerify   ? StoreCall::What::kVerify
                        : work == StoreWork::kRepair ? StoreCall::What::kRepair
                                                     : StoreCall::What::kCollect;
      const auto answer = ask({what, dry_run});
      return answer ? Result<void>() : Result<void>(fail(answer.error()));
    };
    node.look = [ask]() -> Result<Json> {
      const auto answer = ask({});
      if (!answer) return fail(answer.error());
      return parsed(answer->value.value_or(Bytes()));
    };
  }
  if (nodes.empty()) return fail(Code::kNotFound, "--hub " + options.hub + ": the cluster has no hub of this name");
  return nodes;
}

// Of a folder that no process holds. What should be in it only a running node knows.
Result<std::vector<Node>> offline_node(const CareOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(options.store + "/blobs", ignored)) {
    return fail(Code::kNotFound,
                "--store " + options.store +
                    ": no store of models; it is data_dir/models of a hub, data_dir/models/blobs of an edge");
  }
  auto opened = BlobStore::open(options.store);
  if (!opened) return fail(opened.error());
  const std::shared_ptr<BlobStore> blobs = std::move(*opened);
  const auto care =
      std::make_shared<StoreCare>(*blobs, StoreCareOwner{[] { return std::vector<StoredRelease>{}; }, {}, {}, false});
  std::vector<Node> nodes(1);
  nodes[0].name = options.store;
  nodes[0].begin = [blobs, care](StoreWork work, bool dry_run) { return care->start(work, dry_run); };
  nodes[0].look = [blobs, care] { return parsed(care->json()); };
  return nodes;
}

Result<std::vector<Node>> nodes_of(const Common& common, const CareOptions& options) {
  if (!options.store.empty()) return offline_node(options);
  if (options.place.given()) return edge_node(common, options.place);
  if (common.config.empty()) {
    return fail(Code::kInvalid,
                "whose models? give --run-dir of an edge on this machine, or --config client.toml for the hubs");
  }
  return hub_nodes(common, options);
}

void draw(const std::vector<Node>& nodes, const std::vector<Json>& seen) {
  static const bool terminal = ::isatty(2) == 1;
  if (!terminal) return;
  std::uint64_t done = 0, total = 0;
  std::string doing = "reading";
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!seen[i].is_object()) continue;
    done += seen[i].value("done_bytes", std::uint64_t{0});
    total += seen[i].value("total_bytes", std::uint64_t{0});
    if (!nodes[i].done) doing = nodes[i].name + ": " + seen[i].value("doing", doing);
  }
  const int filled = total == 0 ? 0 : static_cast<int>(done * 30 / total);
  std::fprintf(stderr, "\r[%s%s] %s of %s  %-40.40s", std::string(static_cast<std::size_t>(filled), '#').c_str(),
               std::string(static_cast<std::size_t>(30 - filled), ' ').c_str(), bytes_words(done).c_str(),
               bytes_words(total).c_str(), doing.c_str());
}

// Until each has ended, well or not.
void run_all(std::vector<Node>& nodes, StoreWork work, bool dry_run) {
  for (Node& node : nodes) {
    if (const auto begun = node.begin(work, dry_run); !begun) {
      node.end = fail(begun.error());
      node.done = true;
    }
  }
  std::vector<Json> seen(nodes.size());
  for (bool waiting = true; waiting;) {
    waiting = false;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].done) continue;
      auto looked = nodes[i].look();
      if (looked) seen[i] = *looked;
      if (looked && looked->value("running", false)) {
        waiting = true;
        continue;
      }
      nodes[i].done = true;
      if (looked && looked->contains("error")) {
        const Json& error = (*looked)["error"];
        nodes[i].end = fail(code_of(error.value("code", std::string())), error.value("message", std::string()));
      } else {
        nodes[i].end = std::move(looked);
      }
    }
    draw(nodes, seen);
    if (waiting) std::this_thread::sleep_for(kLookEvery);
  }
  if (::isatty(2) == 1) std::fprintf(stderr, "\r%100s\r", "");
}

std::string file_line(const Json& file) {
  std::string state = file.value("state", std::string());
  state.resize(13, ' ');
  std::string text = "  " + state;
  const std::string sha256 = file.value("sha256", std::string()).substr(0, 16);
  if (file.contains("model"))
    text += file.value("model", std::string()) + " " + file.value("version", std::string()) + " " +
            file.value("path", std::string());
  else
    text += sha256 + "...";
  text += ", " + bytes_words(file.value("bytes", std::uint64_t{0}));
  if (file.contains("why")) text += ": " + shown_text(file.value("why", std::string()));
  return text + "\n";
}

// Those that are not ok; `all` of them when asked.
std::string file_lines(const Json& end, bool all, bool offline) {
  std::string text;
  std::size_t lines = 0, more = end.value("left_off", std::size_t{0});
  for (const Json& file : end.value("files", Json::array())) {
    const bool worth = all || file.value("state", std::string()) != "ok" || file.value("why", std::string()) != "";
    if (!worth || (offline && file.value("state", std::string()) == "unreferenced")) continue;
    if (!all && lines >= kLinesMax) {
      ++more;
      continue;
    }
    ++lines;
    text += file_line(file);
  }
  if (more > 0) text += "  " + std::to_string(more) + " more; --json has the first 5000\n";
  return text;
}

int end(const Common& common, std::vector<Node>& nodes, const CareOptions& options,
        const std::function<std::string(const Json&)>& summary, const std::function<bool(const Json&)>& good) {
  Json list = Json::array();
  std::string text;
  bool all_good = true;
  for (const Node& node : nodes) {
    Json one{{"node", node.name}};
    if (!node.end) {
      one["error"] = {{"code", code_name(node.end.error().code)}, {"message", node.end.error().message}};
      text += node.name + ": " + node.end.error().message + "\n";
      all_good = false;
    } else {
      one.update(*node.end);
      text += node.name + ": " + summary(*node.end) + "\n" + file_lines(*node.end, options.all, !options.store.empty());
      all_good = good(*node.end) && all_good;
    }
    list.push_back(std::move(one));
  }
  if (!text.empty()) text.pop_back();
  Json json{{"sound", all_good}, {"nodes", list}};
  if (all_good) return done(common, std::move(json), text);
  json["ok"] = false;
  json["code"] = code_name(Code::kCorrupt);
  json["message"] = "not every file that a release needs is here and whole, or not every store could be looked at";
  std::cout << (common.json ? json.dump() : text) << std::endl;
  return 1;
}

int verify(const Common& common, const CareOptions& options) {
  if (options.repair && !options.store.empty())
    return report(common,
                  Error{Code::kInvalid, "--repair needs a running node: it fetches what is damaged anew", {}, 0});
  auto nodes = nodes_of(common, options);
  if (!nodes) return report(common, nodes.error());
  run_all(*nodes, options.repair ? StoreWork::kRepair : StoreWork::kVerify, false);
  const bool offline = !options.store.empty();
  const auto count = [](const Json& json, const char* state) { return json.value(state, std::size_t{0}); };
  return end(
      common, *nodes, options,
      [&](const Json& json) {
        std::string text;
        if (offline) {
          text = std::to_string(count(json, "unreferenced")) + " files are whole";
        } else {
          text =
              std::to_string(count(json, "releases")) + " releases, " + std::to_string(count(json, "ok")) + " files ok";
        }
        for (const char* state : {"missing", "corrupt", "unread", "unreferenced", "partial", "quarantined"}) {
          if (offline && std::string_view(state) == "unreferenced") continue;
          if (count(json, state) > 0) text += ", " + std::to_string(count(json, state)) + " " + state;
        }
        if (count(json, "repaired") > 0) text += "; " + std::to_string(count(json, "repaired")) + " repaired";
        return text;
      },
      [](const Json& json) { return json.value("sound", false); });
}

int collect(const Common& common, const CareOptions& options) {
  if (options.imported && !options.place.given()) {
    return report(common, Error{Code::kInvalid,
                                "--imported needs --run-dir of an edge on this machine: a hub has no imported versions",
                                {},
                                0});
  }
  auto nodes = nodes_of(common, options);
  if (!nodes) return report(common, nodes.error());
  run_all(*nodes, options.imported ? StoreWork::kCollectImported : StoreWork::kCollect, options.dry_run);
  CareOptions shown = options;
  shown.all = true;
  return end(
      common, *nodes, shown,
      [&](const Json& json) {
        return std::to_string(json.value("garbage", std::size_t{0})) + " files, " +
               bytes_words(json.value("garbage_bytes", std::uint64_t{0})) +
               (options.dry_run ? " would go" : " removed");
      },
      [](const Json&) { return true; });
}

}  // namespace

int import_into_edge(const Common& common, const EdgePlace& place, const std::string& bundle) {
  std::error_code error;
  const std::string path = std::filesystem::absolute(bundle, error).string();
  if (error) return report(common, Error{Code::kInvalid, "bundle " + bundle + ": " + error.message(), {}, 0});
  auto nodes = edge_node(common, place, path);
  if (!nodes) return report(common, nodes.error());
  run_all(*nodes, StoreWork::kImport, false);
  const auto& end = nodes->front().end;
  if (!end)
    return report(common, end.error(),
                  "what came of it counts for nothing yet: import it again, or `tidelock model gc` removes it");
  const Json& one = (*end)["imported"];
  const std::string what = one.value("model", std::string()) + " " + one.value("version", std::string());
  std::string text = what + ": " + std::to_string(one.value("files", std::size_t{0})) + " files, " +
                     bytes_words(one.value("bytes", std::uint64_t{0}));
  if (one.value("verified", false)) {
    text += "; it is verified here already, and nothing was taken";
  } else {
    text += ", " + bytes_words(one.value("new_bytes", std::uint64_t{0})) + " of them new, kept by this edge.\n" +
            (one.value("named", false)
                 ? "A pointer names it: it is verified now, against signature, trust files and golden outputs; the "
                   "edge's log, and model status, say how that went"
                 : "That proves nothing yet: signature, trust files and golden outputs are checked when it is staged; "
                   "then no file comes over the link");
  }
  return done(common, {{"node", nodes->front().name}, {"imported", one}}, text);
}

void add_model_care(CLI::App& model, const Common& common, int& exit_code) {
  const auto options = std::make_shared<CareOptions>();
  const auto whose = [&](CLI::App* command) {
    add_edge_place(*command, options->place);
    command->add_option("--hub", options->hub, "only this hub of the cluster that --config names");
  };
  auto* verify_command =
      model.add_subcommand("verify", "read and hash what an edge or the hubs hold of models, against their manifests");
  verify_command->footer(
      "Every file is ok, missing, corrupt, unreferenced, partial or quarantined; exit code 1 when one that a release\n"
      "needs is not ok. --repair sets damaged files aside and fetches them anew: an edge from a neighbour of its\n"
      "site, else from its hubs within its budgets; a hub from another hub or the object store. Offline, files are\n"
      "checked against their names.\n"
      "example: tidelock model verify --run-dir /run/tidelock/edge-1\n"
      "example: tidelock --config client.toml model verify --repair\n"
      "example: tidelock model verify --store /var/lib/tidelock/hub-1/models");
  whose(verify_command);
  verify_command->add_flag("--repair", options->repair, "set aside what is damaged, and fetch it anew");
  verify_command->add_flag("--all", options->all, "a line for each file, those that are ok too");
  verify_command->add_option("--store", options->store, "folder of a store that no running node holds");
  verify_command->callback([options, &common, &exit_code] { exit_code = verify(common, *options); });
  auto* gc_command =
      model.add_subcommand("gc", "remove what no version here needs: old files, transfers nobody goes on with");
  gc_command->footer(
      "Never what is active, staged, or the last verified version. A hub keeps what came in the last ten minutes: "
      "files\n"
      "are brought before their version is published.\n"
      "example: tidelock model gc --run-dir /run/tidelock/edge-1 --dry-run\n"
      "example: tidelock --config client.toml model gc");
  whose(gc_command);
  gc_command->add_flag("--dry-run", options->dry_run, "only say what would go");
  gc_command->add_flag("--imported", options->imported,
                       "of an edge: also what `model import` brought and no pointer names");
  gc_command->callback([options, &common, &exit_code] { exit_code = collect(common, *options); });
}

}  // namespace tidelock
