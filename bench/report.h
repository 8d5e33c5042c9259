// What every bench prints: a table to stdout, and with --json FILE the same as JSON:
//   {"name","machine","rows":[{"figure","value","unit","floor","aim","peer","peer_value","ratio"}]}
// `ratio` is value / peer_value of the same run. A field that does not apply is null.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace tidelock::bench {

struct Row {
  std::string figure;
  double value = 0;
  std::string unit;
  std::optional<double> floor, aim;
  std::string peer;
  std::optional<double> peer_value;
};

inline std::string machine() {
  std::ifstream info("/proc/cpuinfo");
  std::string line, model = "unknown processor";
  while (std::getline(info, line)) {
    if (line.starts_with("model name")) {
      model = line.substr(std::min(line.find(':') + 2, line.size()));
      break;
    }
  }
  return model + ", " + std::to_string(std::thread::hardware_concurrency()) + " processors";
}

// The q-quantile of `samples`, which it sorts.
inline double quantile(std::vector<double>& samples, double q) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  return samples[std::min(samples.size() - 1, static_cast<std::size_t>(q * static_cast<double>(samples.size())))];
}

inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + '"';
}
inline std::string number(const std::optional<double>& value) {
  if (!value) return "null";
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", *value);
  return text;
}

// The exit status for main: 1 when the file cannot be written or an argument is unknown. A figure beyond its floor is
// shown, not punished: machines differ.
inline int report(const std::string& name, const std::vector<Row>& rows, int argc, char** argv) {
  std::string json_path;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json_path = argv[++i];
    } else {
      std::fprintf(stderr, "bench-%s: unknown argument '%s'; usage: bench-%s [--json FILE]\n", name.c_str(), argv[i],
                   name.c_str());
      return 1;
    }
  }
  std::printf("%s on %s\n%-36s %12s %-6s %9s %9s  %s\n", name.c_str(), machine().c_str(), "figure", "value", "unit",
              "floor", "aim", "peer");
  for (const Row& row : rows) {
    const char* verdict = !row.floor               ? ""
                          : row.value > *row.floor ? "  MISSED"
                          : row.value > *row.aim   ? "  ok"
                                                   : "  aim";
    std::printf("%-36s %12.4g %-6s %9s %9s  %s", row.figure.c_str(), row.value, row.unit.c_str(),
                row.floor ? number(row.floor).c_str() : "", row.aim ? number(row.aim).c_str() : "", row.peer.c_str());
    if (row.peer_value) std::printf(": %.4g (ratio %.2g)", *row.peer_value, row.value / *row.peer_value);
    std::printf("%s\n", verdict);
  }
  if (json_path.empty()) return 0;
  std::ofstream out(json_path);
  out << "{\"name\":" << quoted(name) << ",\"machine\":" << quoted(machine()) << ",\"rows\":[";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    std::optional<double> ratio;
    if (row.peer_value && *row.peer_value > 0) ratio = row.value / *row.peer_value;
    out << (i == 0 ? "" : ",") << "\n{\"figure\":" << quoted(row.figure) << ",\"value\":" << number(row.value)
        << ",\"unit\":" << quoted(row.unit) << ",\"floor\":" << number(row.floor) << ",\"aim\":" << number(row.aim)
        << ",\"peer\":" << (row.peer.empty() ? "null" : quoted(row.peer))
        << ",\"peer_value\":" << number(row.peer_value) << ",\"ratio\":" << number(ratio) << "}";
  }
  out << "\n]}\n";
  out.close();
  if (!out) {
    std::fprintf(stderr, "bench-%s: cannot write %s\n", name.c_str(), json_path.c_str());
    return 1;
  }
  return 0;
}

}  // namespace tidelock::bench
