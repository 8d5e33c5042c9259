// io_uring beside epoll below the Redis door: processor time of an edge for each operation, the same edge with either.
//
// Two edges, each bound to the same processor, and one client on another (resp_load.h); rounds alternate. A ratio below
// 1 says that io_uring is cheaper: EventLoop::kAutoBackEnd is what this found.
#include <cmath>
#include <string>
#include <vector>

#include "report.h"
#include "resp_load.h"
#include "served.h"
#include "wire/resp/event_loop.h"

namespace {

using namespace tidelock;
using namespace tidelock::bench;

void serve_epoll(const Place& place) { serve_edge(place, LoopBackEnd::kEpoll); }
void serve_io_uring(const Place& place) { serve_edge(place, LoopBackEnd::kIoUring); }

double measure(const RespCase& what, const Server& ring, const Server& epoll, std::vector<Row>& rows) {
  RespLoad to_ring(ring, what), to_epoll(epoll, what);
  (void)to_ring.run(), (void)to_epoll.run();
  RespSums ours, theirs;
  std::vector<double> ratios;
  for (int i = 0; i < kRounds; ++i) {
    ours.add(to_ring.run());
    theirs.add(to_epoll.run());
    ratios.push_back(ours.cpu.back() / theirs.cpu.back());
  }
  const double ratio = quantile(ratios, 0.5);
  rows.push_back({what.name() + ": cpu", quantile(ours.cpu, 0.5), "us", {}, {}, "epoll", quantile(theirs.cpu, 0.5)});
  rows.push_back({what.name() + ": cpu ratio", ratio, "x", {}, {}, "epoll", {}});
  rows.push_back({what.name() + ": p99", quantile(ours.p99, 0.5), "us", {}, {}, "epoll", quantile(theirs.p99, 0.5)});
  return ratio;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string only = take_only(argc, argv);
  {
    const ElapsedClock clock;
    const auto loop = EventLoop::create(clock, LoopBackEnd::kIoUring);
    if (!loop) give_up(loop.error().message);
    if (!(*loop)->refusal().empty()) give_up("nothing to compare here: " + (*loop)->refusal());
  }
  const Folder folder;
  std::vector<Row> rows;
  {
    const Server ring(folder.path() + "/io_uring", serve_io_uring), epoll(folder.path() + "/epoll", serve_epoll);
    bind_to(1);
    double logarithms = 0;
    int cases = 0;
    for (const char* command : {"GET", "SET"}) {
      for (const std::size_t bytes : {64u, 2048u}) {
        for (const int pipeline : {1, 16}) {
          for (const bool tcp : {true, false}) {
            const RespCase what{command, bytes, pipeline, tcp, {}, {}};
            if (what.name().find(only) == std::string::npos) continue;
            logarithms += std::log(measure(what, ring, epoll, rows));
            ++cases;
          }
        }
      }
    }
    if (cases == 0) give_up("no case has \"" + only + "\" in its name");
    rows.push_back({"all cases: cpu ratio", std::exp(logarithms / cases), "x", {}, {}, "epoll", {}});
  }
  return report("io", rows, argc, argv);
}
