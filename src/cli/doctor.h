// `tidelock doctor`: looks at what an edge, a hub or an operator needs on this machine, and says what to do.
//
// Exit codes: 0 all good, 1 a finding that breaks a promise, 2 something could not be looked at.
// Touches: one file of 48 KiB in data_dir for a moment (the cost of a sync), one connection to each hub and to the
// edge.
//
// Threads: one. Blocking: a hub that is silent costs at most two seconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cli/doctor_checks.h"
#include "cli/edge_link.h"

namespace CLI {
class App;
}

namespace tidelock {

// What there is to look at. Empty or unset: skipped.
struct DoctorPlan {
  EdgePlace place;             // of an edge on this machine
  bool edge_must_run = false;  // it was named; else an edge that is stopped is only noted
  std::string data_dir;
  std::size_t arena_bytes = 0;  // that run_dir must have room for
  std::optional<TlsFiles> tls;
  std::optional<PeerIdentity> identity;  // who the certificate must be of
  std::vector<std::pair<NodeId, std::string>> hubs;
  std::uint32_t rho_ppm = 200;
};
// The configuration of an edge, a hub or an operator: told apart by the keys that only they have.
Result<DoctorPlan> plan_of_config(const std::string& path);

// What an edge said, as far as the checks need it.
struct EdgeAnswer {
  std::int64_t process_id = 0;
  std::uint64_t clients_max = 0;
  std::string io, io_refusal;  // its multiplexing_api, and why not io_uring
  bool session_open = false, clock_fault = false;
  std::string hub;
  Nanos renewal = kIdleRenewal;                       // of its lease while nobody reads (F9)
  std::vector<std::pair<std::string, Nanos>> bounds;  // of bounded namespaces: prefix, default bound
};

ClockFacts look_at_clock();
// `answer` unset: no edge answered. `now` is only for messages about a page.
Findings look_at_memory(const std::string& shm, const DoctorPlan& plan, const std::optional<EdgeAnswer>& answer);
DiskFacts look_at_disk(const std::string& folder);
Findings examine(const DoctorPlan& plan, int timeout_ms);

// `common` and `exit_code` must outlive the parsing.
void add_doctor(CLI::App& app, const Common& common, int& exit_code);

}  // namespace tidelock
