// What a second reactor thread would give at best: one loop and two behind the Redis door, and redis-server's I/O
// threads.
//
// The best case for more threads: every command is a GET that is answered from page and arena as an app reads them
// (LocalReader), each loop has connections of its own, and nothing is handed over, written, counted or locked. What
// an edge could win in earnest lies below. Server and client share all processors of the machine, as edge and apps of a
// gateway do. redis-server with one I/O thread and with two: what the remedy of others does on the same machine.
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "local_edge.h"
#include "memory/local_reader.h"
#include "report.h"
#include "resp_load.h"
#include "served.h"
#include "wire/resp/event_loop.h"
#include "wire/resp/server.h"

namespace {

using namespace tidelock;
using namespace tidelock::bench;

// Door i of a server.
Place door(const Place& place, std::size_t i) {
  Place other = place;
  other.unix_path += "." + std::to_string(i);
  return other;
}

// GET from the arena; SET into it, of the one thread that has the writer.
class Handler : public CommandHandler {
 public:
  Handler(LocalReader& reader, ArenaWriter* writer) : reader_(reader), writer_(writer) {}
  void handle(ConnectionContext& connection, const std::vector<std::string_view>& args, RespReply& reply) override {
    if (connection.command().id == RespCommand::kGet) {
      if (reader_.read(args[1], {}, value_).must_ask != MustAsk::kNo) return reply.error("ERR not in the arena");
      return reply.bulk(value_);
    }
    EntryMeta meta;
    meta.version = Index{++version_};
    meta.epoch = 1;
    if (connection.command().id != RespCommand::kSet || writer_ == nullptr || !writer_->put(args[1], args[2], meta)) {
      return reply.error("ERR not here");
    }
    reply.ok();
  }

 private:
  LocalReader& reader_;
  ArenaWriter* const writer_;
  std::string value_;
  std::uint64_t version_ = 0;
};

template <std::size_t kLoops>
void serve(const Place& place) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  LocalEdge edge;
  LocalReaderOptions options;
  options.page_path = edge.page_path();
  options.arena_path = edge.arena_path();
  options.l1.capacity_bytes = 0;
  LocalReader reader(options);
  const ElapsedClock clock;
  const HotClock hot;
  struct Reactor {
    std::unique_ptr<EventLoop> loop;
    std::unique_ptr<Handler> handler;
    std::unique_ptr<RespServer> server;
    std::thread thread;
  };
  std::array<Reactor, kLoops> reactors;
  for (std::size_t i = 0; i < kLoops; ++i) {
    Reactor& one = reactors[i];
    auto loop = EventLoop::create(clock);
    if (!loop) give_up(loop.error().message);
    one.loop = std::move(*loop);
    one.handler = std::make_unique<Handler>(reader, i == 0 ? &edge.arena() : nullptr);
    RespServerOptions server;
    server.cheap_now = [&hot] { return hot.now().latest; };
    one.server = std::make_unique<RespServer>(*one.loop, *one.handler, server);
    if (const auto listening = one.server->listen_unix(door(place, i).unix_path); !listening) {
      give_up(listening.error().message);
    }
    one.thread = std::thread([&one] { one.loop->run(); });
  }
  int signal = 0;
  ::sigwait(&ends, &signal);
  for (Reactor& one : reactors) one.loop->stop();
  for (Reactor& one : reactors) one.thread.join();
}

struct Rival {
  const Server& server;
  std::vector<Place> doors;
};

void measure(const char* who, const RespCase& what, const Rival& two, const Rival& one, std::vector<Row>& rows) {
  RespLoad to_two(two.server, two.doors, what), to_one(one.server, one.doors, what);
  (void)to_two.run(), (void)to_one.run();
  RespSums ours, theirs;
  for (int i = 0; i < kRounds; ++i) {
    ours.add(to_two.run());
    theirs.add(to_one.run());
  }
  const std::string name = std::string(who) + " " + what.name();
  const auto middle = [](std::vector<double>& all) { return quantile(all, 0.5); };
  rows.push_back({name + ": per s", middle(ours.per_s), "", {}, {}, "one thread", middle(theirs.per_s)});
  rows.push_back({name + ": cpu", middle(ours.cpu), "us", {}, {}, "one thread", middle(theirs.cpu)});
  rows.push_back({name + ": p99", middle(ours.p99), "us", {}, {}, "one thread", middle(theirs.p99)});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string only = take_only(argc, argv);
  const Folder folder;
  std::vector<Row> rows;
  {
    const Server one(folder.path() + "/one", serve<1>, false), two(folder.path() + "/two", serve<2>, false);
    const Server redis(folder.path() + "/redis", serve_redis, false);
    const Server redis_two(folder.path() + "/redis-two", serve_redis_with_threads, false);
    for (const std::size_t bytes : {64u, 2048u}) {
      for (const int pipeline : {1, 16}) {
        const RespCase what{"GET", bytes, pipeline, false, {}, {}};
        if (what.name().find(only) == std::string::npos) continue;
        measure("loops:", what, {two, {door(two.place(), 0), door(two.place(), 1)}}, {one, {door(one.place(), 0)}},
                rows);
        measure("redis-server:", what, {redis_two, {redis_two.place()}}, {redis, {redis.place()}}, rows);
      }
    }
  }
  return report("reactors", rows, argc, argv);
}
