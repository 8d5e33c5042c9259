#include "cli/hubs.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "cli/config.h"
#include "cli/operator.h"
#include "codec/archive.h"
#include "hub/restore.h"

namespace tidelock {

// "ID=HOST:PORT"
static Result<std::pair<NodeId, std::string>> parse_hub(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || text.find(':', equals) == std::string::npos) {
    return fail(Code::kInvalid, "'" + text + "': must be ID=HOST:PORT, for example hub-4=10.0.0.4:7400");
  }
  return std::pair{text.substr(0, equals), text.substr(equals + 1)};
}

static int show_hubs(const Common& common, const AdminAnswer& answer, const std::string& headline) {
  const auto view = decode<HubsView>(answer.value.value_or(""), "hubs");
  if (!view) return report(common, view.error());
  Json hubs = Json::array();
  std::string text = headline;
  std::size_t voters = 0;
  for (const HubsView::Hub& hub : view->hubs) {
    voters += hub.voter ? 1 : 0;
    const bool leads = hub.id == view->leader;
    Json json{{"id", hub.id}, {"address", hub.address}, {"voter", hub.voter}, {"leads", leads}};
    text +=
        (text.empty() ? "" : "\n") + hub.id + "  " + hub.address + (hub.voter ? "  voter" : "  no vote, catches up");
    if (leads) text += ", leads";
    if (answer.active) {
      json["synced"] = hub.synced.value;
      json["heard_ms"] = hub.heard_ns == kForever ? Json(nullptr) : Json(hub.heard_ns / kMillisecond);
      text += ", has " + std::to_string(hub.synced.value) + " of " + std::to_string(view->last_index.value);
      if (hub.heard_ns == kForever) text += ", not heard yet";
      if (hub.heard_ns != kForever && hub.heard_ns > kSecond) {
        text += ", last heard " + std::to_string(hub.heard_ns / kSecond) + " s ago";
      }
    }
    hubs.push_back(std::move(json));
  }
  const std::size_t spare = voters == 0 ? 0 : (voters - 1) / 2;
  text += "\n" + std::to_string(voters) + (voters == 1 ? " voter; " : " voters; ") +
          (spare == 0 ? "none may fail" : std::to_string(spare) + " may fail");
  if (voters % 2 == 0 && voters > 0) text += "; one more, or one less, would serve as well or better";
  return done(common,
              {{"hubs", hubs},
               {"leader", view->leader},
               {"voters", voters},
               {"may_fail", spare},
               {"ledger_version", view->ledger_version_now}},
              text);
}

constexpr int kCatchUpMs = 120'000;  // how long adding may last unless --timeout-ms says more

static Result<AdminAnswer> change_hubs(Operator& cluster, HubsCall::What what, const NodeId& hub,
                                       const std::string& address) {
  auto answer = cluster.ask_hubs({what, hub, address});
  if (answer && answer->code != Code::kOk) return fail(Error{answer->code, answer->message, {}, 0});
  return answer;
}

int hub_list(const Common& common) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  Error last{Code::kUnavailable, "no hub answered", {}, 0};
  std::optional<AdminAnswer> best;  // the leader's word when there is one
  (*cluster)->learn();
  for (const NodeId& id : (*cluster)->hubs()) {
    auto answer = (*cluster)->ask_one_hub(id, std::min(common.timeout_ms, 2'000));
    if (!answer) {
      last = answer.error();
    } else if (!best || answer->active) {
      best = std::move(*answer);
    }
    if (best && best->active) break;
  }
  if (!best) return report(common, last);
  return show_hubs(common, *best, best->active ? "" : "no leader answers; this is what " + best->hub + " knows");
}

static int hub_change(const Common& common, HubsCall::What what, const NodeId& hub, const std::string& address,
                      const std::string& headline) {
  Common patient = common;
  if (what == HubsCall::What::kAdd) patient.timeout_ms = std::max(common.timeout_ms, kCatchUpMs);
  auto cluster = connect(patient);
  if (!cluster) return report(common, cluster.error());
  const auto answer = change_hubs(**cluster, what, hub, address);
  if (!answer) return report(common, answer.error(), "`tidelock --config FILE hub list` shows what is there");
  return show_hubs(common, *answer, headline);
}

int hub_replace(const Common& common, const NodeId& old, const std::string& with) {
  const auto fresh = parse_hub(with);
  if (!fresh) return report(common, fresh.error());
  if (fresh->first == old) {
    return report(common, Error{Code::kInvalid,
                                "the new hub needs another id than '" + old +
                                    "': a hub votes once in a term because it remembers, and an empty disk does not",
                                {},
                                0});
  }
  Common patient = common;
  patient.timeout_ms = std::max(common.timeout_ms, kCatchUpMs);
  auto cluster = connect(patient);
  if (!cluster) return report(common, cluster.error());
  const auto added = change_hubs(**cluster, HubsCall::What::kAdd, fresh->first, fresh->second);
  if (!added) return report(common, added.error(), "nothing was removed");
  const auto removed = change_hubs(**cluster, HubsCall::What::kRemove, old, {});
  if (!removed) return report(common, removed.error(), fresh->first + " was added");
  return show_hubs(common, *removed, fresh->first + " took the place of " + old);
}

int backup(const Common& common, const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) {
    return report(common, Error{Code::kConflict, path + " exists; a backup overwrites nothing", {}, 0});
  }
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const std::string fresh = path + ".part";
  const auto hub = (*cluster)->backup(fresh);
  const auto info = hub ? check_backup(fresh) : Result<BackupInfo>(fail(hub.error()));
  if (!info) {
    std::filesystem::remove(fresh, error);
    return report(common, info.error());
  }
  std::filesystem::rename(fresh, path, error);
  if (error) {
    return report(common, Error{Code::kBusy, path + ": " + error.message() + "; the backup is in " + fresh, {}, 0});
  }
  std::string text = path + ": everything up to index " + std::to_string(info->header.index.value) + ", from " + *hub +
                     ", " + std::to_string(info->bytes) + " bytes, read back and checked";
  for (const std::string& model : info->models) text += "\nmodel " + model + " is named in it, its files are not";
  return done(common,
              {{"file", path},
               {"index", info->header.index.value},
               {"hub", *hub},
               {"rows", info->rows},
               {"bytes", info->bytes},
               {"models", info->models}},
              text);
}

static int show_founded(const Common& common, const Founded& founded, const std::string& headline) {
  std::string text = headline;
  for (const NodeId& id : founded.former) {
    text += "\n" + id + " is no longer a member: never start it again with its old data_dir";
  }
  for (const std::string& model : founded.models)
    text += "\nmodel " + model + ": publish its files again, or copy them";
  return done(common,
              {{"last_index", founded.last.value},
               {"first_index", founded.base.value},
               {"rows", founded.rows},
               {"former", founded.former},
               {"models", founded.models}},
              text);
}

int restore(const Common& common, const std::string& path) {
  const auto settings = read_hub_config(common.config);
  if (!settings) return report(common, settings.error());
  const auto founded = restore_hub(settings->hub, path);
  if (!founded) return report(common, founded.error());
  return show_founded(common, *founded,
                      "restored up to index " + std::to_string(founded->last.value) + "; the new ledger begins at " +
                          std::to_string(founded->base.value) + "; next: tidelock hub --config " + common.config +
                          ", and let the other hubs join it");
}

int hub_recover(const Common& common, bool sure) {
  const auto settings = read_hub_config(common.config);
  if (!settings) return report(common, settings.error());
  const auto founded = recover_hub(settings->hub, !sure);
  if (!founded) return report(common, founded.error());
  const std::string last = std::to_string(founded->last.value);
  if (sure) {
    return show_founded(common, *founded,
                        settings->hub.id + " is the whole cluster now, with everything up to index " + last +
                            "; next: tidelock hub --config " + common.config);
  }
  std::string others;
  for (const NodeId& id : founded->former) others += " " + id;
  return report(common,
                Error{Code::kDenied,
                      settings->hub.id + " holds everything up to index " + last +
                          ". To recover makes it the whole cluster: what" + others +
                          " acknowledged above that index is lost, and none of them may ever start again",
                      {},
                      0},
                "compare this index among the survivors, take the highest, and repeat with "
                "--i-understand-that-writes-may-be-lost");
}

int hub_add(const Common& common, const std::string& hub) {
  const auto parsed = parse_hub(hub);
  if (!parsed) return report(common, parsed.error());
  return hub_change(common, HubsCall::What::kAdd, parsed->first, parsed->second, parsed->first + " added");
}

int hub_remove(const Common& common, const NodeId& hub) {
  return hub_change(common, HubsCall::What::kRemove, hub, {}, hub + " removed; stop it, and delete its data_dir");
}

int hub_transfer(const Common& common, const NodeId& hub) {
  return hub_change(common, HubsCall::What::kTransfer, hub, {}, "the leadership was handed over");
}

}  // namespace tidelock
