// `tidelock top`: what an edge (or a hub) does, live in a terminal, once, or as JSON.
//
// Samples become one view, a JSON object, and a frame is drawn from that view alone: what `--json` prints is what a
// person sees.
//
// Threads: one. Blocking.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "cli/common.h"

namespace CLI {
class App;
}

namespace tidelock {

// What an edge said of itself at one moment.
struct EdgeSample {
  Nanos taken_at = 0;
  Json info;                                      // TL.INFO
  std::map<std::string, std::string> redis_info;  // INFO, "name:value"
};
// kCorrupt names the answer that cannot be read.
Result<EdgeSample> parse_edge_sample(const std::string& tl_info, const std::string& info, Nanos taken_at);
// Rates are those since `before`; without it those since the edge started. `ages_ms`: ages of the proof at the looks so
// far, -1 where there was none.
Json edge_view(const EdgeSample& now, const EdgeSample* before, const std::vector<std::int64_t>& ages_ms);

// Prometheus text: the sum over the labels of each name.
std::map<std::string, double> parse_metrics(std::string_view text);
Json hub_view(const std::string& address, const std::map<std::string, double>& metrics);

struct FrameOptions {
  std::size_t width = 100;
  bool styled = false;  // with escape sequences
  bool keys = false;    // name the keys
  bool paused = false;
  std::string trouble;  // why the figures are old; empty: they are not
};
// Lines without line ends, none wider than `width`.
std::vector<std::string> top_frame(const Json& view, const FrameOptions& options);
// The bytes that put a frame over the one before: nothing is cleared first, so nothing flickers.
std::string paint(const std::vector<std::string>& lines, std::size_t height);

// `common` and `exit_code` must outlive the parsing.
void add_top(CLI::App& app, const Common& common, int& exit_code);

}  // namespace tidelock
