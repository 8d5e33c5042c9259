#include "cli/model_recall.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>

#include "base/elapsed_clock.h"
#include "cli/rollout.h"
#include "cli/words.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(200);
constexpr std::size_t kNamesShown = 8;

struct RecallOptions {
  std::string name, version, to, reason;
  std::string wait = "10m";
  bool none = false, no_wait = false;
};

std::string gateways(std::size_t count) { return std::to_string(count) + (count == 1 ? " gateway" : " gateways"); }

std::string names(const std::vector<NodeId>& list, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < std::min(list.size(), kNamesShown); ++i) text += (i == 0 ? "" : " ") + list[i];
  if (count > kNamesShown) text += " and " + std::to_string(count - kNamesShown) + " more";
  return text;
}

Json certificate_json(const RecallCertificate& certificate) {
  return {{"index", certificate.index.value},
          {"recalled_index", certificate.recalled.value},
          {"term", certificate.term.value},
          {"hub", certificate.hub},
          {"lapsed_wall_ms", certificate.lapsed_wall_ms},
          {"moved", certificate.moved},
          {"to", certificate.to},
          {"answered", certificate.answered},
          {"answered_count", certificate.answered_count},
          {"lapsed", certificate.lapsed},
          {"lapsed_count", certificate.lapsed_count},
          {"without", certificate.without},
          {"without_count", certificate.without_count}};
}

Result<std::vector<RecallView>> views_of(Operator& cluster, const std::string& name, const std::string& version) {
  const auto answer = cluster.ask(DescribeRecalls{name, version});
  if (!answer) return fail(answer.error());
  if (answer->code != Code::kOk) return fail(answer->code, answer->message);
  if (!answer->value) return fail(Code::kCorrupt, "the hub's answer has no recalls in it");
  return decode<std::vector<RecallView>>(*answer->value, "recalls");
}

// One line of what is waited for.
std::string waiting_words(const RecallView& view) {
  std::string text = std::to_string(view.answered) + " of " + gateways(view.registered) + " answered";
  if (!view.holders.empty()) {
    std::size_t away = 0;
    for (const RecallHolder& one : view.holders) away += !one.connected;
    text += "; " + gateways(view.holders.size()) + " may still use it, " + std::to_string(away) +
            " of them cannot be reached";
  }
  return text + "; certain within " + duration_words(view.wait_ns);
}

// Until there is a certificate, or the time is over. On a terminal one line is drawn over itself.
int await(const Common& common, Operator& cluster, const RecallOptions& options, Nanos wait_ns) {
  const ElapsedClock clock;
  const Nanos until = saturating_add(clock.now(), wait_ns);
  const bool terminal = ::isatty(1) == 1 && !common.json;
  std::string shown;
  for (;;) {
    const auto views = views_of(cluster, options.name, options.version);
    if (!views) {
      return report(common, views.error(),
                    "the recall is in the ledger and goes on; see `tidelock model recalls " + options.name + " " +
                        options.version + "`");
    }
    if (views->empty())
      return report(common, Error{Code::kNotFound, "no recall of " + options.name + " " + options.version, {}, 0});
    const RecallView& view = views->front();
    if (view.certificate || options.no_wait) {
      if (terminal && !shown.empty()) std::printf("\r\x1b[K");
      return done(common, recall_json(view), recall_words(view));
    }
    if (clock.now() >= until) {
      Json json = recall_json(view);
      json["ok"] = false;
      json["code"] = "waiting";
      json["message"] = "there is no certificate yet; the hubs go on by themselves";
      if (terminal && !shown.empty()) std::printf("\n");
      std::cout << (common.json ? json.dump() : recall_words(view)) << std::endl;
      return 1;
    }
    const std::string words = waiting_words(view);
    if (terminal) {
      std::printf("\r\x1b[K%s", words.c_str());
      std::fflush(stdout);
    } else if (!common.json && words.substr(0, words.rfind(';')) != shown) {
      std::cout << words << std::endl;
    }
    shown = words.substr(0, words.rfind(';'));
    std::this_thread::sleep_for(kLookEvery);
  }
}

int recall(const Common& common, const RecallOptions& options) {
  const auto wait_ns = parse_span(options.wait);
  if (!wait_ns) return report(common, Error{Code::kInvalid, "--wait: " + wait_ns.error().message, {}, 0});
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto known = views_of(**cluster, options.name, options.version);
  if (!known) return report(common, known.error());
  if (!known->empty()) {
    const RecallVersion& asked = known->front().recall.asked;
    if ((options.none && !asked.to_none) || (!options.to.empty() && options.to != asked.to)) {
      return report(common, Error{Code::kConflict,
                                  options.name + " " + options.version + " was recalled before, by " + asked.who +
                                      (asked.to_none      ? ", to none"
                                       : asked.to.empty() ? ", to the version before it"
                                                          : ", to " + asked.to) +
                                      "; a recall cannot be changed",
                                  {},
                                  0});
    }
  } else {
    const auto answer =
        (*cluster)->ask(RecallModel{options.name, options.version, options.none, options.to, options.reason});
    if (!answer) return report(common, answer.error());
    if (answer->code != Code::kOk) return report(common, Error{answer->code, answer->message, {}, 0});
  }
  return await(common, **cluster, options, *wait_ns);
}

int recalls(const Common& common, const RecallOptions& options) {
  auto cluster = connect(common);
  if (!cluster) return report(common, cluster.error());
  const auto views = views_of(**cluster, options.name, options.version);
  if (!views) return report(common, views.error());
  if (!options.version.empty()) {
    if (views->empty())
      return report(common,
                    Error{Code::kNotFound, options.name + " " + options.version + " was never recalled", {}, 0});
    return done(common, recall_json(views->front()), recall_words(views->front()));
  }
  Json list = Json::array();
  std::string text;
  for (const RecallView& view : *views) {
    list.push_back(recall_json(view));
    text += (text.empty() ? "" : "\n") + recall_words(view);
  }
  return done(common, {{"recalls", list}}, text.empty() ? "nothing was recalled" : text);
}

}  // namespace

std::string recall_words(const RecallView& view) {
  const RecallVersion& asked = view.recall.asked;
  std::string text = asked.name + " " + asked.version + "  recalled by " + shown_text(asked.who) + ", " +
                     date_words(asked.wall_ms) + ", index " + std::to_string(view.recall.index.value);
  if (!asked.reason.empty()) text += ": " + shown_text(asked.reason);
  if (view.recall.certified.value == 0) {
    text += "\n  no certificate yet: " + (view.registered == 0 ? "`tidelock model recalls " + asked.name + " " +
                                                                     asked.version + "` says what it waits for"
                                                               : waiting_words(view));
    for (std::size_t i = 0; i < std::min(view.holders.size(), kNamesShown); ++i) {
      const RecallHolder& one = view.holders[i];
      text += "\n  " + one.edge + (one.connected ? "  has not answered" : "  cannot be reached") + ", lease " +
              duration_words(one.lease_left_ns);
    }
    if (view.holders.size() > kNamesShown)
      text += "\n  and " + std::to_string(view.holders.size() - kNamesShown) + " more";
    return text;
  }
  text += "\n  certified at index " + std::to_string(view.recall.certified.value);
  if (!view.certificate) return text;
  const RecallCertificate& certificate = *view.certificate;
  text += " by " + certificate.hub + ", " + date_words(certificate.lapsed_wall_ms) +
          ": no process uses it as in force, nor can again";
  if (!certificate.moved) return text + "\n  no pointer named it any more, so there was nobody to wait for";
  text += "\n  gateways follow " + (certificate.to.empty() ? std::string("no version") : certificate.to) + " instead";
  const auto line = [&](const char* what, const std::vector<NodeId>& list, std::uint32_t count) {
    if (count > 0) text += "\n  " + std::to_string(count) + what + names(list, count);
  };
  line(" answered: ", certificate.answered, certificate.answered_count);
  line(" did not, and their lease ran out: ", certificate.lapsed, certificate.lapsed_count);
  line(" held no lease: ", certificate.without, certificate.without_count);
  return text;
}

Json recall_json(const RecallView& view) {
  const RecallVersion& asked = view.recall.asked;
  Json json{{"name", asked.name},
            {"version", asked.version},
            {"state", view.recall.certified.value == 0 ? "waiting" : "certified"},
            {"index", view.recall.index.value},
            {"who", asked.who},
            {"wall_ms", asked.wall_ms},
            {"reason", asked.reason},
            {"certified_index", view.recall.certified.value}};
  if (view.certificate) json["certificate"] = certificate_json(*view.certificate);
  if (view.recall.certified.value == 0 && view.registered > 0) {
    Json holders = Json::array();
    for (const RecallHolder& one : view.holders) {
      holders.push_back(
          {{"edge", one.edge}, {"connected", one.connected}, {"lease_left_ms", one.lease_left_ns / kMillisecond}});
    }
    json["waiting"] = {{"registered", view.registered},
                       {"answered", view.answered},
                       {"wait_ms", view.wait_ns / kMillisecond},
                       {"holders", holders}};
  }
  return json;
}

void add_recall(CLI::App& model, const Common& common, int& exit_code) {
  const auto options = std::make_shared<RecallOptions>();
  auto* command = model.add_subcommand("recall", "end the right to use a version, everywhere and for good");
  command->footer(
      "From the first moment on nobody can stage, activate or roll back to it, and gateways that can be reached do "
      "not\n"
      "fall back to it. Then the command waits for the certificate: the point in the ledger behind which no process "
      "of\n"
      "any gateway, cut off ones included, uses the version as in force. It comes when the last gateway has answered "
      "or\n"
      "its lease has run out. The hubs go on by themselves when this command is ended. There is no way back: publish\n"
      "what replaces it under another number. Exit code 1: there was no certificate within --wait.\n"
      "example: tidelock --config client.toml model recall detector 2.0.0 --reason \"misses trucks at night\"");
  command->add_option("name", options->name, "of the model")->required();
  command->add_option("version", options->version, "the version to recall")->required();
  auto* to = command->add_option("--to", options->to,
                                 "version that takes its place; without it, the one that was in force before");
  command->add_flag("--none", options->none, "nothing takes its place: gateways have no version in force")
      ->excludes(to);
  command->add_option("--reason", options->reason, "for the log and for whoever asks, at most 300 bytes");
  command->add_option("--wait", options->wait, "how long to wait for the certificate")->capture_default_str();
  command->add_flag("--no-wait", options->no_wait, "return once the recall is in the ledger");
  command->callback([options, &common, &exit_code] { exit_code = recall(common, *options); });

  const auto which = std::make_shared<RecallOptions>();
  auto* list = model.add_subcommand("recalls", "what was recalled; of one version, its certificate or who holds it up");
  list->footer("example: tidelock --config client.toml model recalls detector 2.0.0 --json");
  list->add_option("name", which->name, "of one model");
  list->add_option("version", which->version, "of one version");
  list->callback([which, &common, &exit_code] { exit_code = recalls(common, *which); });
}

}  // namespace tidelock
