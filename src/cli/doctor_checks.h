// What `tidelock doctor` makes of what it has seen: facts in, findings out, each with what to do about it.
//
// Threads: pure functions, but for check_certificates, which reads files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "cli/common.h"
#include "codec/certificate.h"
#include "wire/grpc/transport.h"

namespace tidelock {

enum class Health : std::uint8_t {
  kGood,
  kNote,     // worth knowing, breaks nothing
  kBroken,   // a promise cannot be kept like this
  kUnknown,  // could not look
  kSkipped,  // nobody asked, or nothing to look at
};
std::string_view health_name(Health health);  // "good", "note", "broken", "unknown", "skipped"

struct Finding {
  std::string check;  // "clock", "memory", "limits", "certificates", "hubs", "disk", "bounds"
  Health health = Health::kGood;
  std::string what, todo;  // todo is empty for kGood
  Json facts = Json::object();
};
using Findings = std::vector<Finding>;

// 1 with anything broken, else 2 with anything unknown, else 0.
int exit_code_of(const Findings& findings);
std::string findings_text(const Findings& findings);
Json findings_json(const Findings& findings);

struct ClockFacts {
  std::string source;               // of the kernel; empty: it does not tell
  Nanos read_ns = 0;                // one reading of the elapsed clock
  Nanos suspended_ns = 0;           // slept since it booted
  std::optional<double> steer_ppm;  // by how much a time daemon corrects the rate of this machine's oscillator
  std::optional<bool> rate_fault;   // what the edge says; empty: it was not asked
  std::uint32_t rho_ppm = 200;      // C3: what the cluster assumes
  std::string trouble;              // boot id or time namespace cannot be read
};
Findings judge_clock(const ClockFacts& facts);

// "Max open files   1024   4096   files" -> {1024, 4096}; "unlimited" is the largest number. Empty when not there.
std::optional<std::pair<std::uint64_t, std::uint64_t>> limit_of(const std::string& limits, const std::string& name);
struct LimitFacts {
  std::string whose = "this shell";  // or "the edge"
  std::string limits;                // /proc/PID/limits
  std::string core_pattern;          // of the kernel
  bool swap = false;                 // some swap is on
  std::uint64_t clients_max = 10'000;
};
Findings judge_limits(const LimitFacts& facts);

// What the Redis protocol of an edge waits on, and why not on io_uring although it may. `back_end` empty: no finding.
Findings judge_io(const std::string& back_end, const std::string& refusal);

// `expected` is who the configuration says this node is; unset for an operator.
Findings check_certificates(const TlsFiles& tls, const std::optional<PeerIdentity>& expected, std::int64_t now_s);

struct HubLook {
  NodeId id;
  std::string address;
  std::optional<Error> error;   // unset: it answered
  Nanos connect_ns = 0;         // the first answer, handshakes included
  std::vector<Nanos> trips_ns;  // further answers
  bool active = false;
};
Nanos median_of(std::vector<Nanos> values);  // 0 of none
Findings judge_hubs(const std::vector<HubLook>& looks);

struct DiskFacts {
  std::string folder;
  std::string trouble;  // it cannot be looked at
  std::uint64_t free_bytes = 0, total_bytes = 0;
  bool in_memory = false, over_network = false;
  std::vector<Nanos> syncs_ns;  // each after 4 KiB
};
Findings judge_disk(const DiskFacts& facts);

// F9: what it costs to hold a bound while somebody reads under it.
struct BoundCost {
  bool held = false;       // false: an answer is older than the bound when it arrives
  Nanos interval_ns = 0;   // between two probes
  std::int64_t spare = 0;  // answers in a row that may be lost before a reader waits
  std::uint64_t bytes_a_day = 0;
};
inline constexpr Nanos kIdleRenewal = 15 * kSecond;  // half of the long lease that ships (F9)
BoundCost cost_of_bound(Nanos bound, Nanos round_trip, Nanos renewal = kIdleRenewal);
// `namespaces`: prefix and bound of what is bounded here. `renewal`: how often the lease is renewed when nobody reads.
Findings judge_bounds(Nanos round_trip, const std::vector<std::pair<std::string, Nanos>>& namespaces,
                      Nanos renewal = kIdleRenewal);

}  // namespace tidelock
