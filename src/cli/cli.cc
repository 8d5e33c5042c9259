// Subcommands as data for CLI11; each ends in one function that prints text or, with --json, one object.

#include "cli/cli.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/wall_clock.h"
#include "cli/common.h"
#include "cli/config.h"
#include "cli/dev.h"
#include "cli/doctor.h"
#include "cli/get_set.h"
#include "cli/hubs.h"
#include "cli/key.h"
#include "cli/model_care.h"
#include "cli/model_diff.h"
#include "cli/model_files.h"
#include "cli/model_recall.h"
#include "cli/model_transfer.h"
#include "cli/openssf.h"
#include "cli/operator.h"
#include "cli/rollout.h"
#include "cli/top.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "telemetry/log.h"

namespace tidelock {

int report(const Common& common, const Error& error, const std::string& next_step) {
  if (common.json) {
    const Json json{{"ok", false}, {"code", code_name(error.code)}, {"message", error.message}};
    // A message may name a path, and a path need not be UTF-8: better a mark in its place than another error.
    std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  } else {
    std::cerr << "tidelock: " << error.message << "\n";
    if (!next_step.empty()) std::cerr << "  " << next_step << "\n";
  }
  return 1;
}

int done(const Common& common, Json json, const std::string& text) {
  json["ok"] = true;
  if (common.json)
    std::cout << json.dump() << std::endl;
  else
    std::cout << text << std::endl;
  return 0;
}

Result<std::unique_ptr<Operator>> connect(const Common& common) {
  if (common.config.empty()) {
    return fail(Code::kInvalid,
                "no configuration; give --config client.toml (`tidelock dev init` and `tidelock hub init` make one)");
  }
  const auto config = read_operator_config(common.config);
  if (!config) return fail(config.error());
  return Operator::connect(*config, common.timeout_ms);
}

namespace {

// One question to the active hub; `show` prints a good answer.
int ask(const Common& common, decltype(AdminRequest::body) request,
        const std::function<int(const AdminAnswer&, Json)>& show) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const std::int64_t began = monotonic_ns_now();
  const auto answer = (*cluster)->ask(std::move(request));
  const std::int64_t ended = monotonic_ns_now();
  if (!answer)
    return report(common, answer.error(), "is a majority of the hubs up? try `tidelock --config FILE status`");
  if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  Json json{{"index", answer->index.value},
            {"hub", answer->hub},
            {"term", answer->term.value},
            {"begin_ns", began},
            {"end_ns", ended},
            {"elapsed_ms", static_cast<double>(ended - began) / 1e6}};
  return show(*answer, std::move(json));
}

int wait_for_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  int signal = 0;
  sigwait(&set, &signal);
  return 0;
}

void block_signals() {  // before any thread is made, so that only wait_for_signal sees them
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

Result<void> start_log(const LogSettings& settings, const std::string& node) {
  LogOptions options;
  const auto level = parse_log_level(settings.level);
  if (!level) return fail(level.error());
  options.level = *level;
  if (settings.format == "json")
    options.format = LogFormat::kJson;
  else if (settings.format == "text")
    options.format = LogFormat::kText;
  else if (settings.format != "auto")
    return fail(Code::kInvalid, "log.format = \"" + settings.format + "\": must be auto, json or text");
  static std::string name;
  name = node;
  options.node = name;
  set_log_options(options);
  set_transport_log([](bool is_error, const std::string& line) {
    log(is_error ? LogLevel::kWarn : LogLevel::kDebug, "grpc", "transport", {{"line", line}});
  });
  return {};
}

int run_hub(const Common& common, bool print_only, bool defaults, const TestHooks& hooks) {
  if (defaults) {
    std::cout << print_config(HubSettings{}) << std::endl;
    return 0;
  }
  auto settings = read_hub_config(common.config);
  if (!settings) return report(common, settings.error());
  if (print_only) {
    std::cout << print_config(*settings) << std::endl;
    return 0;
  }
  block_signals();
  if (const auto ok = start_log(settings->log, settings->hub.id); !ok) return report(common, ok.error());
  settings->hub.shim = hooks.shim;
  settings->hub.protocol_version = std::min(kProtocolVersion, hooks.version_max);
  settings->hub.ledger_version = std::min(kLedgerVersion, hooks.version_max);
  const auto hub = Hub::start(settings->hub);
  if (!hub) return report(common, hub.error());
  return wait_for_signal();
}

int run_edge(const Common& common, bool print_only, bool defaults, const TestHooks& hooks) {
  if (defaults) {
    std::cout << print_config(EdgeSettings{}) << std::endl;
    return 0;
  }
  auto settings = read_edge_config(common.config);
  if (!settings) return report(common, settings.error());
  if (print_only) {
    std::cout << print_config(*settings) << std::endl;
    return 0;
  }
  block_signals();
  if (const auto ok = start_log(settings->log, settings->edge.id); !ok) return report(common, ok.error());
  settings->edge.shim = hooks.shim;
  settings->edge.protocol_version = std::min(kProtocolVersion, hooks.version_max);
  settings->edge.frames = hooks.frames;
  settings->edge.rewrite_config = [path = common.config](const EdgeRedisSettings& kept) {
    return rewrite_edge_config(path, kept);
  };
  settings->edge.on_shutdown = [] { ::kill(::getpid(), SIGTERM); };  // what wait_for_signal waits for
  const auto edge = Edge::start(settings->edge);
  if (!edge) return report(common, edge.error());
  return wait_for_signal();
}

int cluster_status(const Common& common) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  (*cluster)->learn();
  Json hubs = Json::array();
  Json edges = Json::array();
  std::string active;
  std::string text;
  for (const NodeId& id : (*cluster)->hubs()) {
    const auto view = (*cluster)->ask_one(id, DescribeCluster{}, std::min(common.timeout_ms, 2'000));
    Json hub{{"id", id}, {"up", view.has_value()}};
    if (view) {
      hub["active"] = view->active;
      hub["term"] = view->term.value;
      hub["applied"] = view->index.value;
      text += id + (view->active ? "  active, term " + std::to_string(view->term.value) : "  standing by") +
              ", applied " + std::to_string(view->index.value) + "\n";
      if (view->active) {
        active = id;
        for (const EdgeView& edge : view->edges) {
          edges.push_back({{"id", edge.edge},
                           {"site", edge.site},
                           {"connected", edge.connected},
                           {"lease_left_ms", edge.lease_left_ns / kMillisecond},
                           {"applied", edge.applied.value}});
          text += "  " + edge.edge + "  " + edge.site + (edge.connected ? "  connected" : "  away") + ", applied " +
                  std::to_string(edge.applied.value) + "\n";
        }
      }
    } else {
      hub["error"] = view.error().message;
      text += id + "  unreachable: " + view.error().message + "\n";
    }
    hubs.push_back(std::move(hub));
  }
  if (active.empty()) text += "no hub is active\n";
  if (!text.empty()) text.pop_back();
  return done(common, {{"hubs", hubs}, {"active", active}, {"edges", edges}}, text);
}

}  // namespace

int run_cli(int argc, char** argv, const TestHooks& hooks) {
  CLI::App app{
      "Tidelock: a distributed cache for machine-learning inference at the edge.\n"
      "Every read carries a proof of how fresh it is.\n\n"
      "First steps:   tidelock dev init --dir demo --hubs 1 --edges 1\n"
      "               tidelock hub --config demo/hub-1/hub.toml &\n"
      "               tidelock edge --config demo/edge-1/edge.toml &\n"
      "               tidelock --config demo/client.toml status"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "tidelock 0.1.0");
  app.fallthrough();
  Common common;
  app.add_option("--config", common.config, "configuration file (TOML)");
  app.add_flag("--json", common.json, "print one JSON object");
  app.add_option("--timeout-ms", common.timeout_ms, "how long to look for an active hub")
      ->check(CLI::Range(1, 600'000))
      ->capture_default_str();
  int exit_code = 0;

  bool print_only = false;
  bool defaults = false;
  auto* hub = app.add_subcommand("hub", "run a hub, or set one up");
  hub->footer("example: tidelock hub --config /etc/tidelock/hub.toml");
  hub->require_subcommand(0, 1);
  hub->add_flag("--print-config", print_only, "print the effective configuration and exit");
  hub->add_flag("--defaults", defaults, "with --print-config: the shipped defaults");
  HubInitOptions init;
  auto* hub_init = hub->add_subcommand("init", "make a first hub: CA, certificates, model key, configuration");
  hub_init->footer("example: tidelock hub init --dir /var/lib/tidelock --grpc 10.0.0.1:7400");
  hub_init->add_option("--dir", init.directory, "folder to make")->required();
  hub_init->add_option("--id", init.id, "name of the hub")->capture_default_str();
  hub_init->add_option("--grpc", init.grpc, "address for nodes, host:port")->capture_default_str();
  hub_init->add_option("--http", init.http, "address for metrics and join, host:port")->capture_default_str();
  hub_init->callback([&] {
    if (const auto ok = init_first_hub(init); !ok)
      exit_code = report(common, ok.error());
    else
      exit_code = done(
          common, {{"config", init.directory + "/" + init.id + "/hub.toml"}},
          "made " + init.directory + "; next: tidelock hub --config " + init.directory + "/" + init.id + "/hub.toml");
  });
  TokenOptions token;
  auto* hub_token = hub->add_subcommand("token", "make a token with which one node joins");
  hub_token->footer("example: tidelock hub token --tokens /var/lib/tidelock/hub-1/tokens --role edge --id edge-7");
  hub_token->add_option("--tokens", token.tokens_file, "the hub's token file (join.tokens of hub.toml)")->required();
  hub_token->add_option("--role", token.role, "hub, edge or client")->capture_default_str();
  hub_token->add_option("--id", token.id, "only for the node of this name");
  hub_token->add_option("--minutes", token.minutes, "how long it may be used")->capture_default_str();
  hub_token->callback([&] {
    const auto text = make_token(token);
    exit_code = text ? done(common, {{"token", *text}}, *text) : report(common, text.error());
  });
  auto* hub_list_command = hub->add_subcommand("list", "the hubs of the cluster: who votes, who leads, who lags");
  hub_list_command->footer("example: tidelock --config client.toml hub list");
  hub_list_command->callback([&] { exit_code = hub_list(common); });
  std::string hub_id, hub_at;
  auto* hub_add_command = hub->add_subcommand("add", "take a hub in: it catches up first, and then votes");
  hub_add_command->footer(
      "The hub must run, with `joins = true` in its hub.toml and an empty data_dir.\n"
      "example: tidelock --config client.toml hub add hub-4=10.0.0.4:7400");
  hub_add_command->add_option("hub", hub_at, "ID=HOST:PORT")->required();
  hub_add_command->callback([&] { exit_code = hub_add(common, hub_at); });
  auto* hub_remove_command = hub->add_subcommand("remove", "take a hub out, dead or alive");
  hub_remove_command->footer(
      "Then stop it and delete its data_dir. Its id is not used again.\n"
      "example: tidelock --config client.toml hub remove hub-2");
  hub_remove_command->add_option("hub", hub_id, "its id")->required();
  hub_remove_command->callback([&] { exit_code = hub_remove(common, hub_id); });
  auto* hub_replace_command = hub->add_subcommand("replace", "take a new hub in, and then the old one out");
  hub_replace_command->footer("example: tidelock --config client.toml hub replace hub-2 hub-4=10.0.0.4:7400");
  hub_replace_command->add_option("old", hub_id, "id of the hub that goes")->required();
  hub_replace_command->add_option("new", hub_at, "ID=HOST:PORT of the hub that comes")->required();
  hub_replace_command->callback([&] { exit_code = hub_replace(common, hub_id, hub_at); });
  auto* hub_transfer_command = hub->add_subcommand("transfer", "let another hub be the active one");
  hub_transfer_command->footer("example: tidelock --config client.toml hub transfer hub-3");
  hub_transfer_command->add_option("hub", hub_id, "its id; without it the one that has the most");
  hub_transfer_command->callback([&] { exit_code = hub_transfer(common, hub_id); });
  bool sure = false;
  auto* hub_recover_command =
      hub->add_subcommand("recover", "majority lost for good: make one stopped survivor the whole cluster");
  hub_recover_command->footer(
      "Without the last flag it only says what this hub holds. Read docs/operations.md first.\n"
      "example: tidelock --config /etc/tidelock/hub.toml hub recover --i-understand-that-writes-may-be-lost");
  hub_recover_command->add_flag("--i-understand-that-writes-may-be-lost", sure, "do it");
  hub_recover_command->callback([&] { exit_code = hub_recover(common, sure); });
  hub->callback([&] {
    if (!hub->get_subcommands().empty()) return;
    if (common.config.empty() && !defaults)
      exit_code = report(common, Error{Code::kInvalid, "tidelock hub needs --config FILE", {}, 0},
                         "`tidelock hub init --dir DIR` makes one");
    else
      exit_code = run_hub(common, print_only, defaults, hooks);
  });

  std::string backup_file;
  auto* backup_command = app.add_subcommand("backup", "write the state of the running cluster, as of one index");
  backup_command->footer("example: tidelock --config client.toml backup --out /backup/tidelock-monday");
  backup_command->add_option("--out", backup_file, "file to make")->required();
  backup_command->callback([&] { exit_code = backup(common, backup_file); });
  auto* restore_command =
      app.add_subcommand("restore", "begin a new cluster from a backup, in one hub's empty data_dir");
  restore_command->footer("example: tidelock --config /etc/tidelock/hub.toml restore /backup/tidelock-monday");
  restore_command->add_option("file", backup_file, "what `tidelock backup` wrote")->required();
  restore_command->callback([&] { exit_code = restore(common, backup_file); });

  auto* edge = app.add_subcommand("edge", "run an edge");
  edge->footer("example: tidelock edge --config /etc/tidelock/edge.toml");
  edge->add_flag("--print-config", print_only, "print the effective configuration and exit");
  edge->add_flag("--defaults", defaults, "with --print-config: the shipped defaults");
  edge->callback([&] {
    if (common.config.empty() && !defaults)
      exit_code = report(common, Error{Code::kInvalid, "tidelock edge needs --config FILE", {}, 0},
                         "`tidelock dev init --dir DIR` makes one");
    else
      exit_code = run_edge(common, print_only, defaults, hooks);
  });

  JoinOptions join;
  auto* join_command = app.add_subcommand("join", "enrol this node: get a certificate from a hub with a token");
  join_command->footer(
      "example: tidelock join --hub 10.0.0.1:7401 --id edge-7 --dir /var/lib/tidelock --token tljoin1...");
  join_command->add_option("--token", join.token, "from `tidelock hub token`")->required();
  join_command->add_option("--hub", join.hub_http, "HTTP address of a hub, host:port")->required();
  join_command->add_option("--role", join.role, "hub, edge or client")->capture_default_str();
  join_command->add_option("--id", join.id, "name of this node")->required();
  join_command->add_option("--dir", join.directory, "where tls/ is made")->required();
  join_command->callback([&] {
    if (const auto ok = join_node(join); !ok)
      exit_code = report(common, ok.error());
    else
      exit_code = done(common, {{"tls", join.directory + "/tls"}},
                       "enrolled; certificate and key are in " + join.directory + "/tls");
  });

  auto* dev = app.add_subcommand("dev", "make a cluster for this machine");
  dev->require_subcommand(1);
  DevOptions dev_options;
  auto* dev_init =
      dev->add_subcommand("init", "CA, certificates, keys and configuration for hubs and edges on this machine");
  dev_init->footer("example: tidelock dev init --dir demo --hubs 3 --edges 4 --sites 2");
  dev_init->add_option("--dir", dev_options.directory, "folder to make")->required();
  dev_init->add_option("--hubs", dev_options.hubs, "1, 3 or 5")->capture_default_str();
  dev_init->add_option("--edges", dev_options.edges, "0 to 1000")->capture_default_str();
  dev_init->add_option("--sites", dev_options.sites, "sites the edges are spread over")->capture_default_str();
  dev_init->callback([&] {
    if (const auto ok = make_dev_cluster(dev_options); !ok)
      exit_code = report(common, ok.error());
    else
      exit_code = done(common, {{"dir", dev_options.directory}},
                       "made " + dev_options.directory + "; next: tidelock hub --config " + dev_options.directory +
                           "/hub-1/hub.toml");
  });

  add_get_and_set(app, common, exit_code);
  add_top(app, common, exit_code);
  add_doctor(app, common, exit_code);
  add_key(app, common, exit_code);
  auto* status = app.add_subcommand("status", "which hub is active, which edges are connected");
  status->footer("example: tidelock --config client.toml status --json");
  status->callback([&] { exit_code = cluster_status(common); });
  std::string edge_id;
  auto* remove = app.add_subcommand("remove-edge", "take an edge out of the cluster once its lease has lapsed");
  remove->footer("example: tidelock --config client.toml remove-edge edge-7");
  remove->add_option("edge", edge_id)->required();
  remove->callback([&] {
    exit_code = ask(common, RemoveEdgeRequest{edge_id},
                    [&](const AdminAnswer&, Json json) { return done(common, json, edge_id + " removed"); });
  });

  auto* model = app.add_subcommand("model", "publish, stage, activate, roll back and recall models");
  model->require_subcommand(1);
  model->footer("the life of a version: publish -> stage -> (edges verify) -> activate -> rollback or recall");
  add_model_files(*model, common, exit_code);
  add_openssf(*model, common, exit_code);
  add_model_care(*model, common, exit_code);
  std::string name, version;
  const auto with_version = [&](CLI::App* command) {
    command->add_option("name", name)->required();
    command->add_option("version", version)->required();
  };
  auto* activate = model->add_subcommand("activate", "put a staged version in force on every gateway at one index");
  activate->footer("example: tidelock --config client.toml model activate detector 2.0.0");
  with_version(activate);
  activate->callback([&] {
    exit_code = ask(common, ActivateModel{name, version}, [&](const AdminAnswer& answer, Json json) {
      return done(common, json, name + " " + version + " in force from index " + std::to_string(answer.index.value));
    });
  });
  auto* rollback = model->add_subcommand("rollback", "activate again the version that was in force before");
  rollback->footer("example: tidelock --config client.toml model rollback detector");
  rollback->add_option("name", name)->required();
  rollback->callback([&] {
    exit_code = ask(common, RollbackModel{name}, [&](const AdminAnswer& answer, Json json) {
      return done(common, json, name + " rolled back at index " + std::to_string(answer.index.value));
    });
  });
  auto* diff =
      model->add_subcommand("diff", "what a new version would cost on the link, tensor by tensor; asks nobody");
  diff->footer(
      "example: tidelock model diff detector-1.0.0/ detector-2.0.0/\n"
      "same, copy: already at the gateway; numeric: differences of numbers; patch: of bytes; full: travels whole");
  std::string before, after;
  bool all_parts = false;
  diff->add_option("before", before, "folder of a release, or one file, that gateways have")->required();
  diff->add_option("after", after, "the new one")->required();
  diff->add_flag("--all", all_parts, "a line for each tensor, in the order of the file");
  diff->callback([&] { exit_code = model_diff(common, before, after, all_parts); });
  auto* list = model->add_subcommand("list", "models and their versions");
  list->footer("example: tidelock --config client.toml model list");
  list->callback([&] {
    exit_code = ask(common, DescribeModels{}, [&](const AdminAnswer& answer, Json json) {
      json["models"] = Json::array();
      std::string text;
      for (const ModelView& one : answer.models) {
        json["models"].push_back(model_json(one));
        text += (text.empty() ? "" : "\n") + one.name + "  in force " + (one.current.empty() ? "none" : one.current);
        for (const std::string& published : one.published) text += "  " + published;
      }
      return done(common, json, text.empty() ? "no models are published" : text);
    });
  });

  add_model_transfer(*model, common, exit_code);
  add_history(*model, common, exit_code);
  add_recall(*model, common, exit_code);
  add_rollout(app, common, exit_code);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 says only that a subcommand is required; what was written instead is what helps.
    if (const auto unknown = app.remaining(true); !unknown.empty() && error.get_name() == "RequiredError") {
      std::cerr << "tidelock: unknown " << (unknown.front().starts_with("-") ? "option" : "command") << " '"
                << unknown.front() << "'; `tidelock --help` lists what there is" << std::endl;
      return 2;
    }
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    return report(common, Error{Code::kInvalid, error.what(), {}, 0});
  }
  return exit_code;
}

}  // namespace tidelock
