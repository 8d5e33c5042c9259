#include "cli/doctor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <sstream>

#include "base/elapsed_clock.h"
#include "base/wall_clock.h"
#include "cli/config.h"
#include "cli/doctor_pages.h"
#include "cli/top.h"
#include "cli/words.h"
#include "codec/archive.h"
#include "memory/arena.h"
#include "memory/page.h"
#include "protocol/admin.h"
#include "protocol/messages.h"

namespace tidelock {
namespace {

constexpr int kHubTimeoutMs = 2'000;
constexpr int kTrips = 9;
constexpr int kSyncs = 12;
constexpr int kClockReads = 2'000;
constexpr std::size_t kSyncBytes = 4'096;
constexpr std::size_t kPageRoom = 1u << 20;  // a page is a little more than half of it

bool in_memory(const struct statfs& where) {
  return static_cast<std::uint32_t>(where.f_type) == 0x01021994u ||
         static_cast<std::uint32_t>(where.f_type) == 0x858458f6u;
}
bool over_network(const struct statfs& where) {
  for (const std::uint32_t kind : {0x6969u, 0xff534d42u, 0xfe534d42u, 0x517bu, 0x01021997u}) {  // NFS, SMB, 9P
    if (static_cast<std::uint32_t>(where.f_type) == kind) return true;
  }
  return false;
}

// Files of the kernel are short; what cannot be read is empty.
std::string told_by(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return {};
  return text->substr(0, text->find_last_not_of("\n ") + 1);
}

Result<EdgeAnswer> ask_edge(const EdgePlace& place, int timeout_ms) {
  auto edge = connect_edge(place, timeout_ms);
  if (!edge) return fail(edge.error());
  const auto replies = edge->pipeline({{"TL.INFO"}, {"INFO"}}, timeout_ms * kMillisecond);
  if (!replies) return fail(replies.error());
  for (const RespValue& reply : *replies) {
    if (reply.is_error()) return fail(error_of_reply(reply.text));
  }
  const auto sample = parse_edge_sample((*replies)[0].text, (*replies)[1].text, 0);
  if (!sample) return fail(sample.error());
  const auto number = [&](const char* name) {
    const auto it = sample->redis_info.find(name);
    const Json parsed = it == sample->redis_info.end() ? Json() : Json::parse(it->second, nullptr, false);
    return parsed.is_number_integer() ? parsed.get<std::int64_t>() : std::int64_t{0};
  };
  EdgeAnswer answer;
  answer.process_id = number("process_id");
  answer.clients_max = static_cast<std::uint64_t>(std::max<std::int64_t>(0, number("maxclients")));
  const auto text = [&](const char* name) {
    const auto it = sample->redis_info.find(name);
    return it == sample->redis_info.end() ? std::string() : it->second;
  };
  answer.io = text("multiplexing_api");
  answer.io_refusal = text("multiplexing_refusal");
  const Json& info = sample->info;
  const auto is = [&](const char* name) {
    return info.contains(name) && info[name].is_boolean() && info[name].get<bool>();
  };
  answer.session_open = is("session_open");
  answer.clock_fault = is("clock_fault");
  if (info.contains("hub") && info["hub"].is_string()) answer.hub = info["hub"].get<std::string>();
  const auto ms = [&](const char* name) {
    const bool good = info.contains(name) && info[name].is_number_integer();
    return good ? std::clamp<std::int64_t>(info[name].get<std::int64_t>(), -1, 86'400'000) * kMillisecond
                : -kMillisecond;
  };
  if (ms("lease_left_ms") > 0 && ms("fresh_age_ms") >= 0)  // as EdgeCore::probe_interval
    answer.renewal = std::max<Nanos>(500 * kMillisecond, (ms("lease_left_ms") + ms("fresh_age_ms")) / 2);
  if (info.contains("namespaces") && info["namespaces"].is_array()) {
    for (const Json& one : info["namespaces"]) {
      if (!one.is_object() || one.value("consistency", Json()) != "bounded") continue;
      const Json prefix = one.value("prefix", Json()), bound = one.value("bound_ms", Json());
      if (!prefix.is_string() || !bound.is_number_integer()) continue;
      answer.bounds.emplace_back(prefix.get<std::string>(),
                                 std::clamp<std::int64_t>(bound.get<std::int64_t>(), 0, 86'400'000) * kMillisecond);
    }
  }
  return answer;
}

HubLook look_at_hub(const NodeId& id, const std::string& address, const TlsFiles& tls, int timeout_ms) {
  HubLook look;
  look.id = id;
  look.address = address;
  NodeClientOptions options;
  options.address = address;
  options.tls = tls;
  options.expected_hub = id;
  options.connect_timeout_ms = timeout_ms;
  auto client = NodeClient::make(options);
  if (!client) {
    look.error = client.error();
    return look;
  }
  const ElapsedClock clock;
  const Bytes question = encode(NodeCall{HubsCall{}});
  for (int i = 0; i <= kTrips; ++i) {
    const Nanos asked_at = clock.now();
    const auto raw = (*client)->call(question, timeout_ms);
    const Nanos took = clock.now() - asked_at;
    const auto answer = raw ? decode<AdminAnswer>(*raw, "answer") : Result<AdminAnswer>(fail(raw.error()));
    if (!answer) {
      look.error = answer.error();
      return look;
    }
    look.active = answer->active;
    if (i == 0)
      look.connect_ns = took;
    else
      look.trips_ns.push_back(took);
  }
  return look;
}

LimitFacts look_at_limits(const std::optional<EdgeAnswer>& answer) {
  LimitFacts facts;
  std::string process = "self";
  if (answer && answer->process_id > 0) {
    const std::string candidate = std::to_string(answer->process_id);
    if (told_by("/proc/" + candidate + "/comm").starts_with("tidelock")) {  // else it lives in another pid namespace
      process = candidate;
      facts.whose = "the edge";
    }
  }
  if (answer && answer->clients_max > 0) facts.clients_max = answer->clients_max;
  facts.limits = told_by("/proc/" + process + "/limits");
  facts.core_pattern = told_by("/proc/sys/kernel/core_pattern");
  const std::string swaps = told_by("/proc/swaps");  // a head, and a line each
  facts.swap = swaps.find('\n') != std::string::npos;
  return facts;
}

}  // namespace

Result<DoctorPlan> plan_of_config(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return fail(text.error());
  const auto has = [&](const std::string& key) {
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t from = line.find_first_not_of(" \t");
      if (from == std::string::npos || !line.substr(from).starts_with(key)) continue;
      const std::size_t after = line.find_first_not_of(" \t", from + key.size());
      if (after != std::string::npos && line[after] == '=') return true;
    }
    return false;
  };
  DoctorPlan plan;
  if (has("run_dir")) {
    auto settings = read_edge_config(path);
    if (!settings) return fail(settings.error());
    EdgeConfig& edge = settings->edge;
    plan.place.run_dir = edge.run_dir;
    plan.place.password = edge.requirepass;
    plan.data_dir = edge.data_dir;
    plan.arena_bytes = edge.arena_bytes;
    plan.tls = edge.tls;
    plan.identity = PeerIdentity{NodeRole::kEdge, edge.id};
    plan.hubs = {edge.hubs.begin(), edge.hubs.end()};
  } else if (has("data_dir")) {
    auto settings = read_hub_config(path);
    if (!settings) return fail(settings.error());
    HubConfig& hub = settings->hub;
    plan.data_dir = hub.data_dir;
    plan.tls = hub.tls;
    plan.identity = PeerIdentity{NodeRole::kHub, hub.id};
    plan.hubs = {hub.hubs.begin(), hub.hubs.end()};
    plan.rho_ppm = hub.seed.settings.rho_ppm;
  } else {
    auto config = read_operator_config(path);
    if (!config) return fail(config.error());
    plan.tls = config->tls;
    plan.hubs = std::move(config->hubs);
  }
  return plan;
}

ClockFacts look_at_clock() {
  ClockFacts facts;
  facts.source = told_by("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  const ElapsedClock clock;
  const Nanos began = clock.now();
  for (int i = 1; i < kClockReads; ++i) static_cast<void>(clock.now());
  facts.read_ns = (clock.now() - began) / kClockReads;
  facts.suspended_ns = suspended_ns_now();
  timex steer{};
  const int state = ::adjtimex(&steer);
  if (state >= 0 && state != TIME_ERROR && (steer.status & STA_UNSYNC) == 0) {
    facts.steer_ppm = static_cast<double>(steer.freq) / 65'536 + static_cast<double>(steer.tick - 10'000) * 100;
  }
  if (const auto boot = machine_boot_id(); !boot) facts.trouble = boot.error().message;
  if (const auto space = time_namespace_id(); !space) facts.trouble = space.error().message;
  return facts;
}

Findings look_at_memory(const std::string& shm, const DoctorPlan& plan, const std::optional<EdgeAnswer>& answer) {
  Findings out;
  const auto add = [&](Health health, std::string what, std::string todo = {}, Json facts = Json::object()) {
    out.push_back({"memory", health, std::move(what), std::move(todo), std::move(facts)});
  };
  struct statvfs room{};
  if (::statvfs(shm.c_str(), &room) != 0) {
    add(Health::kNote, shm + ": " + std::strerror(errno),
        "run_dir must lie on another tmpfs then, for example below /run");
  } else {
    const std::uint64_t size = room.f_blocks * room.f_frsize, free = room.f_bavail * room.f_frsize;
    add(Health::kGood, shm + " has " + bytes_words(free) + " free of " + bytes_words(size), {},
        {{"shm_bytes", size}, {"shm_free_bytes", free}});
  }
  const std::string& run_dir = plan.place.run_dir;
  if (run_dir.empty()) {
    add(Health::kSkipped, "page and arena were not looked at", "--run-dir DIR, or --config edge.toml");
    return out;
  }
  const Health absent = plan.edge_must_run ? Health::kUnknown : Health::kNote;
  struct statfs where{};
  if (::statfs(run_dir.c_str(), &where) != 0) {
    add(absent, "run_dir " + run_dir + ": " + std::strerror(errno),
        "the edge makes it when it starts: tidelock edge --config edge.toml");
    return out;
  }
  if (!in_memory(where)) {
    add(Health::kNote,
        "run_dir " + run_dir + " is not on tmpfs: a disk's write-back can stall the edge, and with it every reader",
        "run_dir below /run or /dev/shm");
  }
  if (over_network(where)) {
    add(Health::kBroken, "run_dir " + run_dir + " lies on a network file system: pages cannot be shared there",
        "run_dir below /run or /dev/shm");
  }
  struct stat folder{}, arena_file{};
  if (::stat(run_dir.c_str(), &folder) == 0) {
    const bool there = ::stat((run_dir + "/arena").c_str(), &arena_file) == 0;
    auto huge = judge_huge_pages(
        huge_page_facts(told_by("/proc/self/mountinfo"),
                        std::to_string(major(folder.st_dev)) + ":" + std::to_string(minor(folder.st_dev)),
                        told_by("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
                        there ? static_cast<std::uint64_t>(arena_file.st_size) : plan.arena_bytes));
    if (huge) out.push_back(*std::move(huge));
  }
  const auto page = PageReader::open(run_dir + "/page");
  if (!page) {
    const bool other = page.error().code == Code::kDenied;
    const bool gone = page.error().code == Code::kUnavailable;
    // A page of a former boot is what a machine that was started again leaves behind; with an edge it cannot be.
    add(gone || (other && !answer) ? absent : Health::kBroken, page.error().message,
        other && answer ? "run apps (and this) in the edge's time namespace; without that every read asks the edge"
        : gone || other ? "is the edge running? tidelock edge --config edge.toml"
                        : "apps and edge must be of builds that know one layout: restart what is older");
    const std::uint64_t free = static_cast<std::uint64_t>(where.f_bavail) * static_cast<std::uint64_t>(where.f_bsize);
    if (plan.arena_bytes > 0 && free < plan.arena_bytes + kPageRoom) {
      add(Health::kBroken,
          "run_dir " + run_dir + " has room for " + bytes_words(free) + ", page and arena need " +
              bytes_words(plan.arena_bytes + kPageRoom) + ": the edge will not start",
          "a larger tmpfs, or a smaller memory.arena_mib");
    }
    return out;
  }
  const PageView view = page->view();
  if (view.revoked() || page->replaced()) {
    add(Health::kNote, "the page was replaced just now: the edge was started again", "look again");
    return out;
  }
  const auto arena = ArenaReader::open(run_dir + "/arena");
  if (!arena || !(arena->edge_boot() == view.edge_boot())) {
    add(Health::kBroken, arena ? run_dir + "/arena is not of the edge that wrote the page" : arena.error().message,
        "apps read through the socket only until the edge is started again");
    return out;
  }
  if (!answer) {
    add(absent,
        "page and arena are mapped, and the edge that wrote them does not answer: apps serve what is still provable",
        "is it running? tidelock edge --config edge.toml");
    return out;
  }
  const ElapsedClock clock(view.shim());
  const Nanos bound = staleness_bound(clock.now(), view.fresh_at(), view.rho_ppm());
  const Json facts{{"proof_age_ms", bound == kForever ? -1 : bound / kMillisecond},
                   {"session_open", answer->session_open},
                   {"applied", view.applied().value}};
  if (!answer->session_open) {
    add(Health::kBroken,
        "page and arena are mapped; the edge has no session with a hub: " +
            (bound == kForever ? std::string("it proves nothing")
                               : "its newest proof is " + duration_words(bound) + " old and ages"),
        "see `hubs` below; its log says why it is refused or cannot connect", facts);
    return out;
  }
  if (const auto namespaces = view.policies()) {
    for (std::size_t n = 0; n < namespaces->size(); ++n) {
      const Breaker state = view.breaker(static_cast<std::uint16_t>(n));
      if (state == Breaker::kClosed) continue;
      const std::string& prefix = (*namespaces)[n].prefix;
      add(Health::kNote,
          "the breaker of '" + prefix + "' is " + std::string(breaker_name(state)) +
              (state == Breaker::kOpen ? ": apps' frames are refused (overloaded)" : ": a few frames probe"),
          "tidelock top shows how many failed or came late; the edge's log says when and why it opened",
          {{"namespace", prefix}, {"breaker", breaker_name(state)}});
    }
  }
  add(Health::kGood,
      "page and arena are mapped and alive: session with " + answer->hub + ", newest proof " +
          (bound == kForever ? std::string("not there yet") : duration_words(bound) + " old"),
      {}, facts);
  return out;
}

DiskFacts look_at_disk(const std::string& folder) {
  DiskFacts facts;
  // A folder that is not made yet will lie where its nearest parent does.
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(folder, error);
  while (!std::filesystem::exists(path, error) && path.has_parent_path() && path != path.parent_path())
    path = path.parent_path();
  facts.folder = path.string();
  struct statfs where{};
  if (::statfs(facts.folder.c_str(), &where) != 0) {
    facts.trouble = std::strerror(errno);
    return facts;
  }
  facts.in_memory = in_memory(where);
  facts.over_network = over_network(where);
  facts.free_bytes = static_cast<std::uint64_t>(where.f_bavail) * static_cast<std::uint64_t>(where.f_bsize);
  facts.total_bytes = static_cast<std::uint64_t>(where.f_blocks) * static_cast<std::uint64_t>(where.f_bsize);
  std::string name = facts.folder + "/.doctor-XXXXXX";
  int fd = ::open(facts.folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) {  // not every file system has nameless files
    fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd >= 0) ::unlink(name.c_str());
  }
  if (fd < 0) {
    facts.trouble = std::strerror(errno);
    return facts;
  }
  const ElapsedClock clock;
  const std::string block(kSyncBytes, 'x');
  for (int i = 0; i < kSyncs && facts.trouble.empty(); ++i) {
    const Nanos began = clock.now();
    const bool good =
        ::pwrite(fd, block.data(), block.size(), static_cast<off_t>(i) * static_cast<off_t>(kSyncBytes)) ==
            static_cast<ssize_t>(block.size()) &&
        ::fdatasync(fd) == 0;
    if (good)
      facts.syncs_ns.push_back(clock.now() - began);
    else
      facts.trouble = std::string("cannot write: ") + std::strerror(errno);
  }
  ::close(fd);
  return facts;
}

Findings examine(const DoctorPlan& plan, int timeout_ms) {
  Findings out;
  const auto take = [&](Findings more) {
    out.insert(out.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  const auto skip = [&](const char* check, const char* what, const char* todo) {
    out.push_back({check, Health::kSkipped, what, todo, Json::object()});
  };
  std::optional<EdgeAnswer> answer;
  if (plan.place.given()) {
    auto said = ask_edge(plan.place, std::min(timeout_ms, kHubTimeoutMs));
    if (said)
      answer = std::move(*said);
    else if (plan.edge_must_run || said.error().code != Code::kUnavailable)
      out.push_back({"edge", Health::kUnknown, said.error().message,
                     said.error().code == Code::kDenied
                         ? "--password-file FILE, or --config edge.toml, which holds it"
                         : "is the edge running? its run folder holds redis.sock while it does",
                     Json::object()});
  }
  ClockFacts clock = look_at_clock();
  clock.rho_ppm = plan.rho_ppm;
  if (answer) clock.rate_fault = answer->clock_fault;
  take(judge_clock(clock));
  take(look_at_memory("/dev/shm", plan, answer));
  take(judge_limits(look_at_limits(answer)));
  if (answer) take(judge_io(answer->io, answer->io_refusal));
  if (plan.tls)
    take(check_certificates(*plan.tls, plan.identity, static_cast<std::int64_t>(wall_ms_now() / 1'000)));
  else
    skip("certificates", "not looked at: a run folder does not say where they are", "--config edge.toml");

  std::vector<HubLook> looks;
  if (plan.tls) {
    for (const auto& [id, address] : plan.hubs) {
      looks.push_back(look_at_hub(id, address, *plan.tls, std::min(timeout_ms, kHubTimeoutMs)));
    }
    take(judge_hubs(looks));
  } else {
    skip("hubs", "not asked: that takes a certificate", "--config edge.toml");
  }
  if (!plan.data_dir.empty())
    take(judge_disk(look_at_disk(plan.data_dir)));
  else
    skip("disk", "not looked at: no data_dir is known", "--config edge.toml or hub.toml");

  Nanos trip = 0;  // to the hub that leads, or else to the one that is farthest
  for (const HubLook& look : looks) {
    if (look.error) continue;
    trip = std::max(trip, median_of(look.trips_ns));
    if (look.active) {
      trip = median_of(look.trips_ns);
      break;
    }
  }
  if (trip > 0)
    take(answer ? judge_bounds(trip, answer->bounds, answer->renewal) : judge_bounds(trip, {}));
  else
    skip("bounds", "their cost is not known without a round trip to a hub",
         plan.tls ? "start a hub" : "--config edge.toml");
  return out;
}

void add_doctor(CLI::App& app, const Common& common, int& exit_code) {
  const auto place = std::make_shared<EdgePlace>();
  auto* doctor = app.add_subcommand("doctor", "what this machine lacks for the promises to hold, and what to do");
  doctor->footer(
      "Looks at clock, shared memory, limits, what the Redis protocol waits on, certificates, hubs (with round trip),\n"
      "disk (with the cost of a sync), and at what each bound costs on this link. --config is an edge.toml, hub.toml "
      "or\n"
      "client.toml.\n"
      "Exit codes: 0 all good, 1 something breaks a promise, 2 something could not be looked at.\n"
      "example: tidelock doctor --config first/edge-1/edge.toml\n"
      "example: tidelock doctor --run-dir first/edge-1/run --json");
  add_edge_place(*doctor, *place);
  doctor->callback([place, &common, &exit_code] {
    if (common.config.empty() && !place->given()) {
      report(common, Error{Code::kInvalid, "doctor needs a place to look at", {}, 0},
             "give --config FILE (edge.toml, hub.toml or client.toml), or --run-dir of an edge on this machine");
      exit_code = 2;
      return;
    }
    DoctorPlan plan;
    if (!common.config.empty()) {
      auto made = plan_of_config(common.config);
      if (!made) {
        report(common, made.error(), "mend the configuration first; the node would not start with it either");
        exit_code = 2;
        return;
      }
      plan = std::move(*made);
    }
    if (place->given()) {
      const std::string password = plan.place.password;
      plan.place = *place;
      plan.place.password = password;
      plan.edge_must_run = true;
    } else {
      plan.place.password_file = place->password_file;
    }
    const Findings findings = examine(plan, common.timeout_ms);
    exit_code = exit_code_of(findings);
    if (common.json)
      std::cout << findings_json(findings).dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
    else
      std::cout << findings_text(findings) << std::endl;
  });
}

}  // namespace tidelock
