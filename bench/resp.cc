// The Redis door beside redis-server 7.0: processor time of the server for each operation, and latency, over TCP and a
// Unix socket.
//
// One client, in this process, drives both servers (resp_load.h). The server is bound to one processor and the client
// to another where there are two. Processor time is that of the whole server process, all its threads: the edge's
// compactions count against it.
//
// SET has two peers: redis-server as it is by default here, which keeps nothing, and one with an append-only file that
// is synced each second. An edge keeps a key of its own as the second does (docs/redis.md).
#include <cstring>
#include <string>
#include <vector>

#include "report.h"
#include "resp_load.h"
#include "served.h"

namespace {

using namespace tidelock;
using namespace tidelock::bench;

constexpr char kPeer[] = "redis-server", kKeepingPeer[] = "redis-server that keeps what is set";

void measure(const RespCase& what, const Server& edge, const Server& redis, const char* peer,
             std::vector<bench::Row>& rows) {
  RespLoad to_edge(edge, what), to_redis(redis, what);
  (void)to_edge.run(), (void)to_redis.run();
  RespSums ours, theirs;
  std::vector<double> ratios;
  for (int i = 0; i < kRounds; ++i) {
    ours.add(to_edge.run());
    theirs.add(to_redis.run());
    ratios.push_back(ours.cpu.back() / theirs.cpu.back());
  }
  const std::string name = what.name() + (std::strcmp(peer, kPeer) == 0 ? "" : std::string(", ") + peer);
  const auto middle = [](std::vector<double>& all) { return bench::quantile(all, 0.5); };
  rows.push_back({name + ": cpu ratio", middle(ratios), "x", what.floor, what.aim, peer, {}});
  rows.push_back({name + ": cpu", middle(ours.cpu), "us", {}, {}, peer, middle(theirs.cpu)});
  rows.push_back({name + ": p50", middle(ours.p50), "us", {}, {}, peer, middle(theirs.p50)});
  const double their_p99 = middle(theirs.p99);
  rows.push_back({name + ": p99", middle(ours.p99), "us", their_p99, their_p99, peer, their_p99});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string only = take_only(argc, argv);
  const Folder folder;  // the edge's rows go to the kernel and are never synced on this path
  std::vector<bench::Row> rows;
  {
    const Server edge(folder.path() + "/edge", serve_edge), redis(folder.path() + "/redis", serve_redis);
    const Server keeping_redis(folder.path() + "/keeping", serve_keeping_redis);
    bind_to(1);
    for (const char* command : {"GET", "SET"}) {
      for (const std::size_t bytes : {64u, 2048u}) {
        for (const int pipeline : {1, 16}) {
          for (const bool tcp : {true, false}) {
            RespCase what{command, bytes, pipeline, tcp, {}, {}};
            if (bytes == 64 && tcp) {
              what.floor = pipeline == 1 ? 0.88 : 0.75;
              what.aim = pipeline == 1 ? 0.78 : 0.55;
            } else if (bytes == 2048 && tcp && pipeline == 16) {
              what.floor = 0.7;
              what.aim = 0.5;
            } else if (bytes == 64 && pipeline == 1) {
              what.floor = 0.83;
              what.aim = 0.70;
            }
            if (what.name().find(only) == std::string::npos) continue;
            measure(what, edge, redis, kPeer, rows);
            if (std::strcmp(command, "SET") != 0) continue;
            what.floor = what.aim = {};
            measure(what, edge, keeping_redis, kKeepingPeer, rows);
          }
        }
      }
    }
  }
  return bench::report("resp", rows, argc, argv);
}
