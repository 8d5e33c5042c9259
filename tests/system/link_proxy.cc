// link-proxy stands in for the wide-area links of a cluster on one machine: a TCP proxy in user space whose links can
// be cut, healed, delayed and throttled while they run. It knows nothing of what it carries.
//
//   link-proxy --link edge-1/hub-1=127.0.0.1:4100 --link edge-1/hub-2=127.0.0.1:4101 [--delay-ms 20]
//   --bind HOST listens there for links with a name, instead of 127.0.0.1
//   link-proxy --listen 127.0.0.1:0 --to 127.0.0.1:4100           one link, named "link"
//
// Says:      first one line {"links":{NAME:"127.0.0.1:PORT",...}}, then one line for each command.
// Commands:  one a line on stdin; NAME may end in '*' and then means every link that begins so.
//              cut NAME         black hole: nothing is forwarded either way, nothing is closed. Open connections freeze
//                               and go on after `heal`, as they would when lost packets are sent again. New connections
//                               are completed by the kernel's backlog but never served: whoever connects waits.
//              cut NAME up|down         the same in one direction: the other goes on, as far as TCP allows without its
//              answers
//              heal NAME
//              drop NAME        closes every open connection; what it holds is lost
//              delay NAME MS    one way, for what is read from now on
//              rate NAME BPS    bytes a second one way, of all its connections together; 0 = unlimited
//              stats            bytes: {"links":{NAME:{"up":N,"down":N,"lost":N,"open":N},...}}; up = carried to --to,
//                               lost = taken and never delivered
// Ends:      on `quit`, at the end of stdin, on SIGTERM. So it never outlives whoever started it.
// Threads:   one. Memory: at most kHeldBytesMax for each direction of a connection, then it stops reading.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kHeldBytesMax = 1u << 20;
constexpr std::size_t kReadBytes = 64u << 10;
constexpr std::size_t kConnectionsMax = 4'096;

std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

struct Chunk {
  std::int64_t due_ns = 0;
  std::string bytes;
  std::size_t sent = 0;
};

struct Link;

// One direction: what was read from `from` and is not yet written to `to`.
struct Flow {
  int from = -1, to = -1;
  std::deque<Chunk> held;
  std::size_t held_bytes = 0;
  bool ended = false;  // `from` said it sends no more
  bool passed_end = false;
  bool wants_write = false;
  const bool* cut = nullptr;           // of its link and direction
  std::int64_t* free_at_ns = nullptr;  // "
};

struct Connection {
  Link* link = nullptr;
  int near = -1, far = -1;  // near: accepted; far: towards the target
  bool far_open = false;    // connect() has completed
  Flow up, down;
};

struct Link {
  std::string name;
  sockaddr_in target{};
  int listener = -1;
  std::string host;  // where it listens
  std::uint16_t port = 0;
  bool cut_up = false, cut_down = false;
  std::int64_t delay_ns = 0;
  std::int64_t rate_bps = 0;
  std::int64_t up_free_at_ns = 0, down_free_at_ns = 0;  // when the throttled line has sent everything read so far
  std::uint64_t up_bytes = 0, down_bytes = 0, lost_bytes = 0;
  std::set<Connection*> connections;
  bool whole() const { return !cut_up && !cut_down; }
};

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<sockaddr_in> address(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  const auto port = number(std::string_view(text).substr(colon + 1));
  sockaddr_in result{};
  result.sin_family = AF_INET;
  std::string host = text.substr(0, colon);
  if (host == "localhost") host = "127.0.0.1";
  if (!port || *port > 65'535 || inet_pton(AF_INET, host.c_str(), &result.sin_addr) != 1) return std::nullopt;
  result.sin_port = htons(static_cast<std::uint16_t>(*port));
  return result;
}

class Proxy {
 public:
  Proxy() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

  bool add_link(const std::string& name, const sockaddr_in& listen_at, const sockaddr_in& target,
                std::int64_t delay_ns) {
    auto link = std::make_unique<Link>();
    link->name = name;
    link->target = target;
    link->delay_ns = delay_ns;
    link->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(link->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(link->listener, reinterpret_cast<const sockaddr*>(&listen_at), sizeof listen_at) != 0 ||
        listen(link->listener, 64) != 0) {
      std::fprintf(stderr, "link-proxy: cannot listen for link %s: %s\n", name.c_str(), std::strerror(errno));
      return false;
    }
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    getsockname(link->listener, reinterpret_cast<sockaddr*>(&bound), &size);
    char host[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &bound.sin_addr, host, sizeof host);
    link->host = host;
    link->port = ntohs(bound.sin_port);
    watch(link->listener, EPOLLIN);
    listeners_[link->listener] = link.get();
    return links_.emplace(name, std::move(link)).second;
  }

  void say_links() const {
    std::string line = "{\"links\":{";
    for (const auto& [name, link] : links_) {
      if (line.back() != '{') line += ',';
      line += '"' + name + "\":\"" + link->host + ':' + std::to_string(link->port) + '"';
    }
    say(line + "}}");
  }

  int run() {
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    watch(STDIN_FILENO, EPOLLIN);
    std::vector<epoll_event> events(256);
    while (!quit_) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), wait_ms());
      if (count < 0 && errno != EINTR) return 1;
      for (int i = 0; i < count; ++i) on_event(events[static_cast<std::size_t>(i)]);
      for (const auto& connection : connections_) {
        if (!doomed_.contains(connection.get())) move_held(*connection);
      }
      bury();
    }
    return 0;
  }

 private:
  static void say(const std::string& line) {
    std::fprintf(stdout, "%s\n", line.c_str());
    std::fflush(stdout);
  }

  void watch(int fd, std::uint32_t what) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT)
      epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  }
  void unwatch(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

  void on_event(const epoll_event& event) {
    const int fd = event.data.fd;
    if (fd == STDIN_FILENO) return read_commands();
    if (const auto it = listeners_.find(fd); it != listeners_.end()) return accept_all(*it->second);
    const auto it = sockets_.find(fd);
    if (it == sockets_.end() || doomed_.contains(it->second)) return;
    Connection& connection = *it->second;
    if (connection.link->cut_up && connection.link->cut_down) return;  // no longer watched; this event was on its way
    if (fd == connection.far && !connection.far_open) {
      if (connection.link->whole()) on_connected(connection);
      return;
    }
    if ((event.events & EPOLLERR) != 0) return doom(connection);
    if ((event.events & (EPOLLIN | EPOLLHUP)) != 0)
      read_some(connection, fd == connection.near ? connection.up : connection.down);  // a cut flow reads nothing
    // Writability is used by move_held, which follows every turn.
  }

  void accept_all(Link& link) {
    while (connections_.size() < kConnectionsMax) {
      const int near = accept4(link.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (near < 0) return;
      const int far = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      const int on = 1;
      for (const int fd : {near, far}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto connection = std::make_unique<Connection>();
      connection->link = &link;
      connection->near = near;
      connection->far = far;
      connection->up.from = connection->down.to = near;
      connection->up.to = connection->down.from = far;
      connection->up.cut = &link.cut_up;
      connection->down.cut = &link.cut_down;
      connection->up.free_at_ns = &link.up_free_at_ns;
      connection->down.free_at_ns = &link.down_free_at_ns;
      sockets_[near] = sockets_[far] = connection.get();
      link.connections.insert(connection.get());
      const int outcome = connect(far, reinterpret_cast<const sockaddr*>(&link.target), sizeof link.target);
      if (outcome != 0 && errno != EINPROGRESS) doom(*connection);
      connections_.push_back(std::move(connection));
      watch(far, EPOLLOUT);
    }
  }

  void on_connected(Connection& connection) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection.far, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return doom(connection);  // the target refuses: so does the link
    connection.far_open = true;
    rewatch(connection);
  }

  void rewatch(Connection& connection) {
    if (!connection.far_open)
      return connection.link->whole() ? watch(connection.far, EPOLLOUT) : unwatch(connection.far);
    const auto wanted = [](const Flow& out_of, const Flow& into) {
      std::uint32_t what = 0;
      if (!out_of.ended && !*out_of.cut && out_of.held_bytes < kHeldBytesMax) what |= EPOLLIN;
      if (into.wants_write && !*into.cut) what |= EPOLLOUT;
      return what;
    };
    // A socket with nothing wanted is not watched at all: epoll would report its hang-up for ever.
    const std::uint32_t near = wanted(connection.up, connection.down), far = wanted(connection.down, connection.up);
    near != 0 ? watch(connection.near, near) : unwatch(connection.near);
    far != 0 ? watch(connection.far, far) : unwatch(connection.far);
  }

  void read_some(Connection& connection, Flow& flow) {
    Link& link = *connection.link;
    while (!flow.ended && !*flow.cut && flow.held_bytes < kHeldBytesMax) {
      std::string bytes(kReadBytes, '\0');
      const ssize_t got = read(flow.from, bytes.data(), bytes.size());
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) doom(connection);
        break;
      }
      if (got == 0) {
        flow.ended = true;
        break;
      }
      bytes.resize(static_cast<std::size_t>(got));
      const std::int64_t now = now_ns();
      std::int64_t due = now + link.delay_ns;
      if (link.rate_bps > 0) {
        *flow.free_at_ns = std::max(now, *flow.free_at_ns) + got * 1'000'000'000 / link.rate_bps;
        due = *flow.free_at_ns + link.delay_ns;
      }
      if (!flow.held.empty()) due = std::max(due, flow.held.back().due_ns);  // one stream: order stays
      flow.held_bytes += bytes.size();
      flow.held.push_back({due, std::move(bytes), 0});
      if (static_cast<std::size_t>(got) < kReadBytes) break;
    }
  }

  void move_held(Connection& connection) {
    if (!connection.far_open) return;
    write_due(connection, connection.up, connection.link->up_bytes);
    write_due(connection, connection.down, connection.link->down_bytes);
    if (connection.up.passed_end && connection.down.passed_end) doom(connection);
    if (!doomed_.contains(&connection)) rewatch(connection);
  }

  void write_due(Connection& connection, Flow& flow, std::uint64_t& counted) {
    flow.wants_write = false;
    if (*flow.cut) return;
    const std::int64_t now = now_ns();
    while (!flow.held.empty() && flow.held.front().due_ns <= now) {
      Chunk& chunk = flow.held.front();
      const ssize_t put = send(flow.to, chunk.bytes.data() + chunk.sent, chunk.bytes.size() - chunk.sent, MSG_NOSIGNAL);
      if (put < 0) {
        if (errno != EAGAIN && errno != EINTR) return doom(connection);
        flow.wants_write = true;
        return;
      }
      counted += static_cast<std::uint64_t>(put);
      chunk.sent += static_cast<std::size_t>(put);
      flow.held_bytes -= static_cast<std::size_t>(put);
      if (chunk.sent == chunk.bytes.size()) flow.held.pop_front();
    }
    if (flow.ended && flow.held.empty() && !flow.passed_end) {
      shutdown(flow.to, SHUT_WR);
      flow.passed_end = true;
    }
  }

  int wait_ms() const {
    std::int64_t due = INT64_MAX;
    for (const auto& connection : connections_) {
      if (!connection->far_open) continue;
      for (const Flow* flow : {&connection->up, &connection->down}) {
        if (!flow->held.empty() && !flow->wants_write && !*flow->cut) due = std::min(due, flow->held.front().due_ns);
      }
    }
    if (due == INT64_MAX) return -1;
    return static_cast<int>(std::clamp<std::int64_t>((due - now_ns() + 999'999) / 1'000'000, 0, 60'000));
  }

  void doom(Connection& connection) { doomed_.insert(&connection); }

  void bury() {
    for (Connection* connection : doomed_) {
      // A reset, not an orderly end: whoever is still connected must not take it for the end of a stream.
      const bool orderly = connection->up.passed_end && connection->down.passed_end;
      const linger reset{1, 0};
      for (const int fd : {connection->near, connection->far}) {
        if (!orderly) setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        sockets_.erase(fd);
        close(fd);
      }
      connection->link->lost_bytes += connection->up.held_bytes + connection->down.held_bytes;
      connection->link->connections.erase(connection);
    }
    std::erase_if(connections_, [&](const auto& connection) { return doomed_.contains(connection.get()); });
    doomed_.clear();
  }

  void read_commands() {
    char bytes[4096];
    const ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);
    if (got == 0) quit_ = true;
    if (got <= 0) return;
    input_.append(bytes, static_cast<std::size_t>(got));
    for (auto end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      const std::string line = input_.substr(0, end);
      input_.erase(0, end + 1);
      if (!line.empty()) obey(line);
    }
    if (input_.size() > 64u << 10) input_.clear();
  }

  std::vector<Link*> named(const std::string& pattern) {
    std::vector<Link*> found;
    const bool prefix = !pattern.empty() && pattern.back() == '*';
    for (const auto& [name, link] : links_) {
      if (prefix ? name.starts_with(pattern.substr(0, pattern.size() - 1)) : name == pattern)
        found.push_back(link.get());
    }
    return found;
  }

  void obey(const std::string& line) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
      const auto end = std::min(line.find(' ', at), line.size());
      if (end > at) words.push_back(line.substr(at, end - at));
      at = end + 1;
    }
    const auto refuse = [&](const std::string& why) { say("{\"ok\":false,\"message\":\"" + why + "\"}"); };
    if (words.empty()) return;
    std::string verb = words[0];
    if (verb == "quit") {
      quit_ = true;
      return;
    }
    if (verb == "stats") return say_stats();
    const bool with_number = verb == "delay" || verb == "rate";
    if (verb == "cut" && words.size() == 3) {
      if (words[2] != "up" && words[2] != "down") return refuse("not a direction: up or down");
      verb += ' ' + words[2];
      words.pop_back();
    }
    if (!with_number && !verb.starts_with("cut") && verb != "heal" && verb != "drop") return refuse("no such command");
    if (words.size() != (with_number ? 3u : 2u)) return refuse("wrong number of words");
    const auto value = with_number ? number(words[2]) : std::optional<std::int64_t>(0);
    if (!value || *value > 1'000'000'000'000) return refuse("not a number in range");
    const auto links = named(words[1]);
    if (links.empty()) return refuse("no such link");
    for (Link* link : links) apply(*link, verb, *value);
    say("{\"ok\":true,\"links\":" + std::to_string(links.size()) + ",\"at_ns\":" + std::to_string(now_ns()) + "}");
  }

  void apply(Link& link, const std::string& verb, std::int64_t value) {
    if (verb == "delay") link.delay_ns = value * 1'000'000;
    if (verb == "rate") link.rate_bps = value;
    if (verb == "drop") {
      for (Connection* connection : link.connections) doom(*connection);
    }
    if (verb.starts_with("cut") || verb == "heal") {
      const bool heal = verb == "heal";
      link.cut_up = !heal && (link.cut_up || verb != "cut down");
      link.cut_down = !heal && (link.cut_down || verb != "cut up");
      link.whole() ? watch(link.listener, EPOLLIN) : unwatch(link.listener);
      for (Connection* connection : link.connections) {
        if (!doomed_.contains(connection)) rewatch(*connection);
      }
    }
  }

  void say_stats() const {
    std::string line = "{\"links\":{";
    for (const auto& [name, link] : links_) {
      if (line.back() != '{') line += ',';
      line += '"' + name + "\":{\"up\":" + std::to_string(link->up_bytes) +
              ",\"down\":" + std::to_string(link->down_bytes) + ",\"lost\":" + std::to_string(link->lost_bytes) +
              ",\"open\":" + std::to_string(link->connections.size()) + '}';
    }
    say(line + "}}");
  }

  int epoll_;
  bool quit_ = false;
  std::string input_;
  std::map<std::string, std::unique_ptr<Link>> links_;
  std::map<int, Link*> listeners_;
  std::map<int, Connection*> sockets_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::set<Connection*> doomed_;
};

int usage(const std::string& why) {
  std::fprintf(stderr,
               "link-proxy: %s\nusage: link-proxy [--delay-ms N] (--link NAME=HOST:PORT ... | --listen HOST:PORT --to "
               "HOST:PORT)\n",
               why.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  std::string listen_text = "127.0.0.1:0", bind_host = "127.0.0.1", to;
  std::int64_t delay_ms = 0;
  std::vector<std::pair<std::string, std::string>> wanted;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 >= argc) return usage(flag + " needs a value");
    const std::string value = argv[i + 1];
    if (flag == "--listen") {
      listen_text = value;
    } else if (flag == "--bind") {
      bind_host = value;
    } else if (flag == "--to") {
      to = value;
    } else if (flag == "--delay-ms") {
      const auto parsed = number(value);
      if (!parsed || *parsed > 60'000) return usage("--delay-ms '" + value + "': 0 to 60000");
      delay_ms = *parsed;
    } else if (flag == "--link") {
      const auto equals = value.rfind('=');
      if (equals == std::string::npos || equals == 0) return usage("--link '" + value + "': NAME=HOST:PORT");
      if (value.find_first_of("\"\\ *") != std::string::npos)
        return usage("--link '" + value + "': plain characters only");
      wanted.emplace_back(value.substr(0, equals), value.substr(equals + 1));
    } else {
      return usage("unknown flag '" + flag + "'");
    }
  }
  if (!to.empty()) wanted.emplace_back("link", to);
  if (wanted.empty()) return usage("no link");
  Proxy proxy;
  for (const auto& [name, target_text] : wanted) {
    const auto target = address(target_text);
    const auto listen_at = address(name == "link" ? listen_text : bind_host + ":0");
    if (!target) return usage("'" + target_text + "': an IPv4 address and port, as in 127.0.0.1:4100");
    if (!listen_at)
      return usage("--listen '" + listen_text + "', --bind '" + bind_host + "': an IPv4 address and port");
    if (!proxy.add_link(name, *listen_at, *target, delay_ms * 1'000'000)) return 1;
  }
  proxy.say_links();
  return proxy.run();
}
