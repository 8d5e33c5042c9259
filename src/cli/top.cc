// One loop over poll(): keys, signals (through a descriptor, so that a resize is an event like others) and the next
// second. Each frame is one write of lines that end in "erase to the end of the line".

#include "cli/top.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>

#include "base/elapsed_clock.h"
#include "cli/edge_link.h"
#include "cli/words.h"
#include "wire/http/server.h"

namespace tidelock {
namespace {

constexpr Nanos kEvery = kSecond;
constexpr int kLiveTimeoutMs = 1'000;
constexpr std::size_t kAgesMax = 300;  // five minutes of looks

double number_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_number() ? it->get<double>() : 0.0;
}
std::int64_t whole_of(const Json& json, const char* name, std::int64_t missing = 0) {
  const auto it = json.find(name);
  return it != json.end() && it->is_number_integer() ? it->get<std::int64_t>() : missing;
}
std::string word_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}
bool flag_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_boolean() && it->get<bool>();
}
const Json& part_of(const Json& json, const char* name) {
  static const Json kNothing = Json::object();
  const auto it = json.find(name);
  return it != json.end() && it->is_object() ? *it : kNothing;
}
double redis_number(const std::map<std::string, std::string>& info, const std::string& name) {
  const auto it = info.find(name);
  double value = 0;
  if (it != info.end()) std::from_chars(it->second.data(), it->second.data() + it->second.size(), value);
  return std::isfinite(value) ? value : 0;
}

// The smallest age that at least `share` of the looks did not exceed; a look without a proof exceeds every age: -1.
std::int64_t quantile(std::vector<std::int64_t> ages, double share) {
  if (ages.empty()) return -1;
  std::sort(ages.begin(), ages.end(), [](std::int64_t a, std::int64_t b) {
    return static_cast<std::uint64_t>(a) < static_cast<std::uint64_t>(b);
  });
  const auto at = static_cast<std::size_t>(std::ceil(share * static_cast<double>(ages.size())));
  return ages[std::clamp<std::size_t>(at, 1, ages.size()) - 1];
}

// The edge cuts its milliseconds off: what it calls 12 is below 13.
std::string age_words(std::int64_t ms) {
  return ms < 0 ? "none" : ms >= kForever / kMillisecond ? "unbounded" : duration_words((ms + 1) * kMillisecond);
}
std::string share_words(const Json& share) {
  if (!share.is_number()) return "-";
  char text[32];
  // Rounded down: 100 % means all of them.
  std::snprintf(text, sizeof text, "%.1f %%", std::floor(share.get<double>() * 1000) / 10);
  return text;
}
std::string bar(double share) {
  constexpr int kWidth = 20;
  const int filled = static_cast<int>(std::clamp(share, 0.0, 1.0) * kWidth + 0.5);
  return "[" + std::string(static_cast<std::size_t>(filled), '#') +
         std::string(static_cast<std::size_t>(kWidth - filled), '.') + "]";
}

// Cut to `width` columns; a character of several bytes is taken for one column, and never cut in two.
std::string cut(const std::string& line, std::size_t width) {
  std::size_t columns = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if ((static_cast<unsigned char>(line[i]) & 0xc0) == 0x80) continue;
    if (columns == width) return line.substr(0, i);
    ++columns;
  }
  return line;
}

class Frame {
 public:
  explicit Frame(const FrameOptions& options) : options_(options) {}
  void title(const std::string& text) { put(text, "\x1b[1m"); }
  void row(const char* name, const std::string& text, bool alarming = false) {
    char head[16];
    std::snprintf(head, sizeof head, "%-9s ", name);
    put(head + text, alarming ? "\x1b[31m" : "");
  }
  void plain(const std::string& text) { put(text, ""); }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  void put(const std::string& text, const std::string& style) {
    std::string line = shown_text(text);
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::replace(line.begin(), line.end(), '\t', ' ');
    line = cut(line, options_.width);
    lines_.push_back(options_.styled && !style.empty() ? style + line + "\x1b[0m" : line);
  }
  const FrameOptions& options_;
  std::vector<std::string> lines_;
};

void edge_rows(Frame& frame, const Json& view) {
  const Json &session = part_of(view, "session"), &proof = part_of(view, "proof"), &reads = part_of(view, "reads"),
             &commands = part_of(view, "commands"), &memory = part_of(view, "memory"),
             &outbox = part_of(view, "outbox"), &feed = part_of(view, "feed");
  const auto count = [](const Json& from, const char* name) { return count_words(number_of(from, name)); };
  const bool open = flag_of(session, "open");
  frame.row("session",
            open ? "with " + word_of(session, "hub") + ", term " + count(session, "term") + ", applied " +
                       std::to_string(whole_of(session, "applied"))
                 : std::string("none: what is proven ages, and no strong read is served once the lease is over"),
            !open);
  std::string ages = "none";
  if (const std::int64_t age = whole_of(proof, "age_ms", -1); age >= 0) ages = "at most " + age_words(age) + " old";
  if (whole_of(proof, "looks") > 1) {
    ages += "   p50 " + age_words(whole_of(proof, "age_p50_ms", -1)) + ", p99 " +
            age_words(whole_of(proof, "age_p99_ms", -1)) + " of " + std::to_string(whole_of(proof, "looks")) + " looks";
  }
  frame.row("proof", ages, whole_of(proof, "age_ms", -1) < 0);
  const std::int64_t lease = whole_of(view, "lease_left_ms");
  const bool fault = flag_of(view, "clock_fault");
  frame.row("lease",
            (lease > 0 ? duration_words(lease * kMillisecond, Rounding::kDown) + " left" : std::string("none")) +
                "   open blocks " + count(view, "open_blocks") + "   clock " +
                (fault ? "FAULT: its rate is outside what the rules assume" : "good"),
            fault);
  frame.row("reads", count(reads, "per_s") + "/s   hits " + share_words(reads.value("hit_ratio_now", Json())) +
                         ", since start " + share_words(reads.value("hit_ratio", Json())) + " of " +
                         count(reads, "total") + "   flagged " + count(reads, "fallbacks") + "   refused " +
                         count(reads, "stale"));
  frame.row("commands", count(commands, "per_s") + "/s   " + count(commands, "clients") + " clients   " +
                            count(commands, "errors") + " errors");
  const double used = number_of(memory, "bytes"), most = number_of(memory, "max_bytes");
  frame.row("memory", bar(most > 0 ? used / most : 0) + " " + bytes_words(static_cast<std::uint64_t>(used)) + " of " +
                          bytes_words(static_cast<std::uint64_t>(most)) + ", " + count(memory, "entries") +
                          " entries   arena " +
                          bytes_words(static_cast<std::uint64_t>(number_of(memory, "arena_bytes"))) + ", " +
                          count(memory, "arena_entries") + " entries");
  const bool lost = number_of(outbox, "lost") > 0;
  frame.row("outbox",
            count(outbox, "pending") + " wait   " + count(outbox, "written") +
                " written = " + count(outbox, "flushed") + " flushed, " + count(outbox, "superseded") + " replaced, " +
                count(outbox, "expired") + " expired, " + count(outbox, "shed") + " shed, " +
                (lost ? "LOST " : "lost ") + count(outbox, "lost"),
            lost);
  frame.row("feed", "invalidations " + count(feed, "invalidations_per_s") + "/s   fetches " +
                        count(feed, "fetches_per_s") + "/s   probes " + count(feed, "probes_per_s") + "/s   sessions " +
                        count(feed, "sessions"));
  const char* breakers_head = "breakers";
  for (const auto& [prefix, breaker] : part_of(view, "breakers").items()) {  // M10
    if (!breaker.is_object()) continue;
    const std::string state = word_of(breaker, "state"), why = word_of(breaker, "why");
    frame.row(breakers_head,
              (prefix.empty() ? "(other keys)" : prefix) + "  " +
                  (state == "open" ? "OPEN: frames are refused" : state) + (why.empty() ? "" : ", " + why) +
                  "   opened " + count(breaker, "opened") + " times   of the last " + count(breaker, "frames") +
                  " frames " + count(breaker, "failed") + " failed, " + count(breaker, "late") + " late",
              state != "closed");
    breakers_head = "";
  }
  const Json& models = part_of(view, "models");
  if (models.empty()) frame.row("models", "none");
  const char* head = "models";
  for (const auto& [name, model] : models.items()) {
    if (!model.is_object()) continue;
    const std::string current = word_of(model, "current"), staged = word_of(model, "staged");
    std::string text = name + "  in force " + (current.empty() ? "none" : current);
    if (!staged.empty()) text += ", staged " + staged;
    std::string verified;
    for (const Json& one : model.value("verified", Json::array())) {
      if (one.is_string()) verified += " " + one.get<std::string>();
    }
    frame.row(head, text + (verified.empty() ? "" : ", verified" + verified));
    head = "";
  }
}

void hub_rows(Frame& frame, const Json& view) {
  const bool active = flag_of(view, "active");
  frame.row("role", active ? "active: it sequences writes" : "stands by");
  frame.row("ledger", "applied " + std::to_string(whole_of(view, "applied")) + ", term " +
                          std::to_string(whole_of(view, "term")) + ", leader changes " +
                          count_words(number_of(view, "leader_changes")) + ", snapshots taken in " +
                          count_words(number_of(view, "snapshots_installed")));
  frame.row("edges", count_words(number_of(view, "sessions")) + " sessions   open blocks " +
                         count_words(number_of(view, "open_blocks")));
}

// Takes samples of one place, and keeps what the next one is compared with.
class Source {
 public:
  Source(EdgePlace place, std::string hub) : place_(std::move(place)), hub_(std::move(hub)) {}

  Result<Json> look(int timeout_ms) {
    if (!hub_.empty()) {
      const auto answer = http_request(hub_, "GET", "/metrics", "", "", timeout_ms);
      if (!answer) return fail(answer.error());
      if (answer->status != 200)
        return fail(Code::kCorrupt, hub_ + "/metrics answered " + std::to_string(answer->status));
      const auto metrics = parse_metrics(answer->body);
      if (!metrics.contains("tidelock_hub_active"))
        return fail(Code::kCorrupt, hub_ + "/metrics is not that of a hub; for an edge give --run-dir");
      return hub_view(hub_, metrics);
    }
    if (!edge_) {
      auto made = connect_edge(place_, timeout_ms);
      if (!made) return fail(made.error());
      edge_.emplace(std::move(*made));
    }
    const auto replies = edge_->pipeline({{"TL.INFO"}, {"INFO"}}, timeout_ms * kMillisecond);
    if (!replies) {
      edge_.reset();
      return fail(replies.error());
    }
    for (const RespValue& reply : *replies) {
      if (reply.is_error()) return fail(error_of_reply(reply.text));
    }
    auto sample = parse_edge_sample((*replies)[0].text, (*replies)[1].text, clock_.now());
    if (!sample) return fail(sample.error());
    if (before_ && before_->redis_info["process_id"] != sample->redis_info["process_id"])
      before_.reset();  // another edge
    ages_.push_back(whole_of(sample->info, "fresh_age_ms", -1));
    if (ages_.size() > kAgesMax) ages_.erase(ages_.begin());
    Json view = edge_view(*sample, before_ ? &*before_ : nullptr, ages_);
    before_ = std::move(*sample);
    return view;
  }

 private:
  const EdgePlace place_;
  const std::string hub_;
  const ElapsedClock clock_;
  std::optional<RespClient> edge_;
  std::optional<EdgeSample> before_;
  std::vector<std::int64_t> ages_;
};

// The terminal as it must be while frames are drawn; as it was when this ends.
class Screen {
 public:
  Screen() {
    raw_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    if (raw_) {
      termios now = before_;
      now.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      now.c_cc[VMIN] = 0;
      now.c_cc[VTIME] = 0;
      ::tcsetattr(STDIN_FILENO, TCSANOW, &now);
    }
    write("\x1b[?1049h\x1b[?25l");
  }
  ~Screen() {
    write("\x1b[?25h\x1b[?1049l");
    if (raw_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  static winsize size() {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) size = {24, 80, 0, 0};
    return size;
  }
  static bool write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

 private:
  termios before_{};
  bool raw_ = false;
};

class SignalDescriptor {
 public:
  SignalDescriptor() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
    fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~SignalDescriptor() {
    if (fd_ >= 0) ::close(fd_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SignalDescriptor(const SignalDescriptor&) = delete;
  SignalDescriptor& operator=(const SignalDescriptor&) = delete;
  int fd() const { return fd_; }
  int take() const {
    signalfd_siginfo info{};
    return ::read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t before_{};
  int fd_ = -1;
};

int run_live(Source& source, Json view) {
  const ElapsedClock clock;
  const SignalDescriptor signals;
  const Screen screen;
  const bool colour = std::getenv("NO_COLOR") == nullptr;
  FrameOptions options;
  options.styled = colour;
  options.keys = true;
  Nanos next = clock.now() + kEvery;
  bool keyboard = true;  // until it is at its end
  for (;;) {
    const winsize size = Screen::size();
    options.width = size.ws_col;
    if (!Screen::write(paint(top_frame(view, options), size.ws_row))) return 0;
    const Nanos left = std::max<Nanos>(0, next - clock.now());
    pollfd polled[] = {{signals.fd(), POLLIN, 0}, {keyboard ? STDIN_FILENO : -1, POLLIN, 0}};
    ::poll(polled, 2, options.paused ? -1 : static_cast<int>(left / kMillisecond) + 1);
    for (int signal = signals.take(); signal != 0; signal = signals.take()) {
      if (signal != SIGWINCH) return 0;
    }
    if (polled[1].revents != 0) {
      char keys[64];
      const ssize_t count = ::read(STDIN_FILENO, keys, sizeof keys);
      keyboard = count > 0 || (polled[1].revents & POLLHUP) == 0;
      for (ssize_t i = 0; i < count; ++i) {
        if (keys[i] == 'q' || keys[i] == 'Q') return 0;
        if (keys[i] == 'p' || keys[i] == 'P' || keys[i] == ' ') options.paused = !options.paused;
      }
      if (count == 0) keyboard = false;
    }
    if (options.paused || clock.now() < next) continue;
    auto fresh = source.look(kLiveTimeoutMs);
    if (fresh) view = std::move(*fresh);
    options.trouble = fresh ? std::string() : fresh.error().message;
    next = clock.now() + kEvery;
  }
}

}  // namespace

Result<EdgeSample> parse_edge_sample(const std::string& tl_info, const std::string& info, Nanos taken_at) {
  EdgeSample sample;
  sample.taken_at = taken_at;
  sample.info = Json::parse(tl_info, nullptr, false);
  if (!sample.info.is_object() || word_of(sample.info, "edge").empty()) {
    return fail(Code::kCorrupt,
                "the answer to TL.INFO is not that of an edge: '" + shown_text(tl_info.substr(0, 40)) + "'");
  }
  std::size_t at = 0;
  while (at < info.size()) {
    const std::size_t end = std::min(info.find("\r\n", at), info.size());
    const std::string line = info.substr(at, end - at);
    at = end + 2;
    const std::size_t colon = line.find(':');
    if (!line.starts_with("#") && colon != std::string::npos)
      sample.redis_info[line.substr(0, colon)] = line.substr(colon + 1);
  }
  return sample;
}

Json edge_view(const EdgeSample& now, const EdgeSample* before, const std::vector<std::int64_t>& ages_ms) {
  const Json &info = now.info, &reads = part_of(info, "reads"), &features = part_of(info, "features");
  const Json nothing = Json::object();
  const Json& was = before != nullptr ? before->info : nothing;
  const double uptime_s = redis_number(now.redis_info, "uptime_in_seconds");
  const double seconds = before != nullptr
                             ? static_cast<double>(now.taken_at - before->taken_at) / static_cast<double>(kSecond)
                             : uptime_s;
  // A counter that went back belongs to an edge that began anew.
  const auto rate = [&](double count, double count_before) {
    return seconds > 0 && count >= count_before ? (count - count_before) / seconds : 0.0;
  };
  const auto rate_of = [&](const char* name) { return rate(number_of(info, name), number_of(was, name)); };
  const auto redis_before = [&](const std::string& name) {
    return before != nullptr ? redis_number(before->redis_info, name) : 0.0;
  };
  const auto ratio = [](double part, double whole) { return whole > 0 ? Json(part / whole) : Json(nullptr); };
  const Json& reads_before = part_of(was, "reads");
  const double total = number_of(reads, "total"), hits = number_of(reads, "hits");

  Json view{{"edge", word_of(info, "edge")}, {"site", word_of(info, "site")}, {"uptime_s", uptime_s}};
  view["since"] = before != nullptr ? "last look" : "start";
  view["session"] = {{"open", flag_of(info, "session_open")},
                     {"hub", word_of(info, "hub")},
                     {"term", whole_of(info, "term")},
                     {"applied", whole_of(info, "applied")}};
  view["proof"] = {{"age_ms", whole_of(info, "fresh_age_ms", -1)},
                   {"age_p50_ms", quantile(ages_ms, 0.5)},
                   {"age_p99_ms", quantile(ages_ms, 0.99)},
                   {"looks", ages_ms.size()}};
  view["lease_left_ms"] = whole_of(info, "lease_left_ms");
  view["open_blocks"] = whole_of(info, "open_blocks");
  view["clock_fault"] = flag_of(info, "clock_fault");
  view["reads"] = {
      {"total", total},
      {"per_s", rate(total, number_of(reads_before, "total"))},
      {"hit_ratio", ratio(hits, total)},
      {"hit_ratio_now", ratio(hits - number_of(reads_before, "hits"), total - number_of(reads_before, "total"))},
      {"fallbacks", number_of(reads, "fallbacks")},
      {"stale", number_of(reads, "stale")}};
  const double commands = redis_number(now.redis_info, "total_commands_processed");
  view["commands"] = {{"total", commands},
                      {"per_s", rate(commands, redis_before("total_commands_processed"))},
                      {"clients", redis_number(now.redis_info, "connected_clients")},
                      {"errors", redis_number(now.redis_info, "total_error_replies")}};
  view["memory"] = {{"entries", number_of(info, "entries")},
                    {"bytes", number_of(info, "memory_bytes")},
                    {"max_bytes", redis_number(now.redis_info, "maxmemory")},
                    {"arena_bytes", redis_number(now.redis_info, "arena_bytes")},
                    {"arena_entries", redis_number(now.redis_info, "arena_entries")}};
  view["outbox"] = features;
  view["feed"] = {{"invalidations_per_s", rate_of("invalidations")},
                  {"fetches_per_s", rate_of("fetches")},
                  {"probes_per_s", rate_of("probes")},
                  {"sessions", number_of(info, "sessions")}};
  view["models"] = part_of(info, "models");
  view["breakers"] = part_of(info, "breakers");
  return view;
}

std::map<std::string, double> parse_metrics(std::string_view text) {
  std::map<std::string, double> metrics;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t space = line.rfind(' ');
    if (line.starts_with("#") || space == std::string_view::npos) continue;
    double value = 0;
    const std::string_view digits = line.substr(space + 1);
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc{}) continue;
    metrics[std::string(line.substr(0, std::min(line.find('{'), space)))] += value;
  }
  return metrics;
}

Json hub_view(const std::string& address, const std::map<std::string, double>& metrics) {
  const auto of = [&](const char* name) {
    const auto it = metrics.find(name);
    return it == metrics.end() || !(std::abs(it->second) < 9e18) ? std::int64_t{0}
                                                                 : static_cast<std::int64_t>(it->second);
  };
  return {{"hub", address},
          {"active", of("tidelock_hub_active") == 1},
          {"sessions", of("tidelock_hub_sessions")},
          {"open_blocks", of("tidelock_hub_open_blocks")},
          {"applied", of("tidelock_ledger_applied_index")},
          {"term", of("tidelock_ledger_term")},
          {"leader_changes", of("tidelock_raft_leader_changes_total")},
          {"snapshots_installed", of("tidelock_ledger_snapshots_installed_total")}};
}

std::vector<std::string> top_frame(const Json& view, const FrameOptions& options) {
  Frame frame(options);
  if (view.contains("hub")) {
    frame.title("tidelock top   hub " + word_of(view, "hub"));
  } else {
    frame.title("tidelock top   " + word_of(view, "edge") + " (" + word_of(view, "site") + ")   up " +
                duration_words(static_cast<Nanos>(number_of(view, "uptime_s")) * kSecond, Rounding::kDown) +
                "   rates since the " + word_of(view, "since"));
  }
  if (!options.trouble.empty()) frame.row("OLD", options.trouble + "; trying again", true);
  if (view.contains("hub"))
    hub_rows(frame, view);
  else
    edge_rows(frame, view);
  if (options.keys) frame.plain(options.paused ? "q quit   p go on   PAUSED" : "q quit   p pause");
  return frame.take();
}

std::string paint(const std::vector<std::string>& lines, std::size_t height) {
  std::string out = "\x1b[H";
  for (std::size_t i = 0; i < lines.size() && i < height; ++i) {
    out += (i == 0 ? "" : "\r\n") + lines[i] + "\x1b[K";
  }
  return out + "\x1b[J";
}

void add_top(CLI::App& app, const Common& common, int& exit_code) {
  struct Options {
    EdgePlace place;
    std::string hub;
    bool once = false;
  };
  const auto options = std::make_shared<Options>();
  auto* top = app.add_subcommand("top", "what an edge does, live: hits, bounds, operations, memory, outbox, models");
  top->footer(
      "Keys: q quits, p pauses. Reads that apps answer out of shared memory never reach the edge and are not in its\n"
      "figures. \"proof\" is the age of the newest proof: reads from memory have this bound.\n"
      "example: tidelock top --run-dir first/edge-1/run\n"
      "example: tidelock top --hub 127.0.0.1:7401 --once");
  add_edge_place(*top, options->place);
  top->add_option("--hub", options->hub, "a hub instead: its HTTP address, host:port");
  top->add_flag("--once", options->once, "print one frame and end");
  top->callback([options, &common, &exit_code] {
    if (options->place.given() == !options->hub.empty()) {
      exit_code = report(common, Error{Code::kInvalid, "top looks at one place", {}, 0},
                         "give --run-dir of an edge on this machine, or --hub HOST:PORT");
      return;
    }
    Source source(options->place, options->hub);
    auto view = source.look(common.timeout_ms);
    if (!view) {
      exit_code =
          report(common, view.error(),
                 "is it running? `tidelock doctor` looks at what it needs; a password goes into --password-file");
      return;
    }
    const bool live = !options->once && !common.json && ::isatty(STDOUT_FILENO) == 1;
    if (live) {
      exit_code = run_live(source, std::move(*view));
      return;
    }
    std::string text;
    FrameOptions wide;
    wide.width = 1'000;
    for (const std::string& line : top_frame(*view, wide)) text += (text.empty() ? "" : "\n") + line;
    exit_code = done(common, std::move(*view), text);
  });
}

}  // namespace tidelock
