// A rollout brings a version of a model to the fleet in waves, each behind the gates of the one before it (M5).
//
// The whole rollout is one value in the ledger, `model:NAME:rollout`, and every step replaces it under the condition
// that it is still the value that was judged, in the same write as the pointers which the step moves. So the hub that
// is active goes on where the former one stopped: a step that was written is not taken twice, one that was not is
// judged anew.
//
// Pure:    what is in force, the fleet and the ledger's clock come in, at most one step goes out. Nothing is kept
//          between two calls.
// Cost:    O(edges log edges) a call.
// Units:   times are the ledger's (ledger time does not jump at a failover); shares are whole percent; rates, drift and
//          their limits are millionths; latencies are microseconds.
// Limits:  kWavesMax, kGatesMax, kRingEdgesMax edges ahead of the rest.
// Errors:  kInvalid names what is wrong with a plan; kConflict names who holds the rollout.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"
#include "protocol/messages.h"

namespace tidelock {

inline constexpr std::size_t kWavesMax = 32;
inline constexpr std::size_t kGatesMax = 8;
inline constexpr std::size_t kRingEdgesMax = 4'096;
inline constexpr std::size_t kStuckNamesMax = 32;  // of a wave; how many there were is counted
inline constexpr std::size_t kHistoryMax = 200;    // entries of a model's audit log
inline constexpr Nanos kRolloutTimeMax = 30 * 24 * 3600 * kSecond;

// M5: the value behind `model:NAME:current@default` and `model:NAME:staged@default`.
struct ModelPointer {
  std::string version;
  Bytes manifest_sha256;  // names the content, not only the number
  std::string previous;   // what `rollback` returns to; empty after the first activation
  friend bool operator==(const ModelPointer&, const ModelPointer&) = default;
  template <class A>
  void fields(A& a) {
    a(version, manifest_sha256, previous);
  }
};
// M5: the value behind `model:NAME:current@next`: who has gone ahead of the rest, and to which version. For a member it
// counts instead of `current@default`.
struct RingPointer {
  ModelPointer pointer;
  std::vector<NodeId> members;  // in order, each once
  bool has(const NodeId& edge) const;
  template <class A>
  void fields(A& a) {
    a(pointer, members);
  }
};

struct RolloutWave {
  enum class Size : std::uint8_t {
    kCount,  // until `amount` edges have the version
    kShare,  // until `amount` percent of the registered edges have it; the last wave is 100
    kLabel,  // every reachable edge that says `key` = `value` of itself
  };
  Size size = Size::kShare;
  std::uint32_t amount = 100;
  std::string key, value;
  friend bool operator==(const RolloutWave&, const RolloutWave&) = default;
  template <class A>
  void fields(A& a) {
    a(size, amount, key, value);
  }
};
constexpr RolloutWave::Size last_enumerator(RolloutWave::Size) { return RolloutWave::Size::kLabel; }

struct RolloutGate {
  enum class On : std::uint8_t {
    kErrorRate,   // millionths of the frames
    kP99Latency,  // microseconds
    kDrift,       // millionths; of the edge whose mean is worst
    kSick,        // reports of an app that it is not well with this version
  };
  On on = On::kSick;
  std::uint64_t below = 1;
  friend bool operator==(const RolloutGate&, const RolloutGate&) = default;
  template <class A>
  void fields(A& a) {
    a(on, below);
  }
};
constexpr RolloutGate::On last_enumerator(RolloutGate::On) { return RolloutGate::On::kSick; }

struct RolloutPlan {
  std::string version;
  std::vector<RolloutWave> waves;  // the last one is everybody
  std::vector<RolloutGate> gates;  // of every wave
  Nanos dwell_ns = 600 * kSecond;  // a wave is watched for this long at least
  // A wave waits this long for edges that are reachable and have not staged the version, and as long again for figures
  // that its gates need. Then it goes on without those edges; without figures it does not go on, it pauses.
  Nanos patience_ns = 1'800 * kSecond;
  std::uint64_t samples_min = 100;  // frames of a wave that a rate or a latency needs to say anything
  friend bool operator==(const RolloutPlan&, const RolloutPlan&) = default;
  template <class A>
  void fields(A& a) {
    a(version, waves, gates, dwell_ns, patience_ns, samples_min);
  }
};

// "canary=yes,5,10%,50%,100%"; a last wave of everybody is added where it lacks.
Result<std::vector<RolloutWave>> parse_waves(std::string_view text);
// "error_rate<0.01", "p99_ms<50", "drift<0.2", "sick<1".
Result<RolloutGate> parse_gate(std::string_view text);
std::string describe(const RolloutWave& wave);
std::string describe(const RolloutGate& gate);
Result<void> validate_plan(const RolloutPlan& plan);
// Of an edge: at most 16 labels, names and values of 1 to 32 of [a-z0-9._-].
Result<void> validate_labels(const Labels& labels);

enum class RolloutPhase : std::uint8_t {
  kPlanned,
  kStaging,   // of wave `wave`
  kDwelling,  // wave `wave` has the version, and its gates are watched
  kPaused,
  kDone,
  kAborted,
  kRolledBack,
};
constexpr RolloutPhase last_enumerator(RolloutPhase) { return RolloutPhase::kRolledBack; }
std::string_view phase_name(RolloutPhase phase);

// What was foreseen of a wave when the rollout began: times from its start.
struct WaveForecast {
  std::uint32_t edges = 0;
  std::uint64_t bytes = 0;
  Nanos activated_ns = 0, ended_ns = 0;
  bool measured = false;  // false: of some edge's link nothing was known, and the median of the others stands for it
  template <class A>
  void fields(A& a) {
    a(edges, bytes, activated_ns, ended_ns, measured);
  }
};
struct WaveRecord {
  std::vector<NodeId> added;  // of the last wave: nobody by name, it is the rest
  std::uint32_t edges = 0;
  std::uint64_t bytes = 0;               // that its edges say they fetched for the version
  Nanos activated_at = 0, ended_at = 0;  // 0: not yet
  std::vector<NodeId> stuck;             // went on without these
  std::uint32_t stuck_count = 0;
  std::uint32_t wave = 0;  // of the plan, from 0: waves that added nobody have no record (see encode_rollout)
  template <class A>
  void fields(A& a) {
    a(added, edges, bytes, activated_at, ended_at, stuck, stuck_count);
  }
};

struct Rollout {
  RolloutPlan plan;
  RolloutPhase phase = RolloutPhase::kPlanned;
  RolloutPhase paused_from = RolloutPhase::kPlanned;
  NodeId holder;            // who may make it go on; anybody may make it stop
  std::string reason;       // of a pause, an abort, a rollback
  ModelPointer to, before;  // what it brings, and what was in force
  std::uint64_t bytes = 0;  // of the release
  std::uint32_t wave = 0;   // from 0
  // When this phase of this wave began; a pause moves it on. A wave dwells from the instant at which its pointer was
  // seen in force, whatever its write had to wait for: 0 until then.
  Nanos since = 0;
  Nanos paused_at = 0;  // 0: not paused
  Nanos started_at = 0;
  std::vector<WaveForecast> forecast;
  std::vector<WaveRecord> waves;  // those that were activated
  template <class A>
  void fields(A& a) {
    a(plan, phase, paused_from, holder, reason, to, before, bytes, wave, since, paused_at, started_at, forecast, waves);
  }
  bool under_way() const { return phase <= RolloutPhase::kPaused; }
  // The last wave names nobody; waves that added nobody have no record.
  bool everywhere() const { return !waves.empty() && waves.back().added.empty(); }
  std::vector<NodeId> members() const;  // of the ring: in order
};

// As the ledger has it. Before ledger version 4 the number of a record's wave was not written: then the place among the
// records is taken for it, as those hubs did.
Bytes encode_rollout(const Rollout& rollout, std::uint32_t ledger_version);
Result<Rollout> decode_rollout(BytesView bytes);

// ---- what is known of the fleet
struct FleetEdge {
  NodeId edge;
  bool reachable = false;  // it has a session
  bool rings = false;      // and knows of rings: else it follows the last wave only
  bool staged = false;     // M4: it said that it verified the version
  const Labels* labels = nullptr;
  std::uint64_t link_bytes_per_s = 0;     // 0: not known
  const ModelHealth* health = nullptr;    // of the version
  std::string_view site = {};             // empty: it has no neighbours
  const ModelHealth* in_force = nullptr;  // of the version that the rest of the fleet follows
  Nanos paused_ns = 0;                    // M3: its budget or its hours keep transfers from it for so long, at the most
};
using Fleet = std::vector<FleetEdge>;  // every registered edge, by id

struct RolloutStep {
  Rollout next;
  enum class Pointers : std::uint8_t {
    kKeep,
    kStage,    // staged := to
    kUnstage,  // staged := before
    kRing,     // current@next := to, for next.members()
    kAll,      // current@default := to, and nobody is ahead any more
    kBack,     // current@default and staged := before, and nobody is ahead any more
  };
  Pointers pointers = Pointers::kKeep;
  std::string said;  // for the audit log; empty: nothing that a person did or would ask about
};

// ---- what operators want
struct RolloutCommand {
  enum class What : std::uint8_t { kPlan, kStart, kPause, kResume, kAbort };
  What what = What::kPlan;
  std::string name;
  RolloutPlan plan;        // kPlan; kStart: with a version it is planned and started at once
  bool take_over = false;  // kPlan, kStart, kResume: also when another operator holds it
  template <class A>
  void fields(A& a) {
    a(what, name, plan, take_over);
  }
};
constexpr RolloutCommand::What last_enumerator(RolloutCommand::What) { return RolloutCommand::What::kAbort; }

struct RolloutTarget {  // of a plan: the version that it names, and what is in force
  ModelPointer to, before;
  std::uint64_t bytes = 0;
  std::uint64_t before_bytes = 0;  // of the release in force
};
// The step that an operator's command asks for, or why not. `held` is the model's latest rollout, if it ever had one.
Result<RolloutStep> command_rollout(const Rollout* held, const RolloutCommand& command, const NodeId& who,
                                    const RolloutTarget& target, const Fleet& fleet, Nanos now);

struct RolloutLook {
  std::optional<RolloutStep> step;
  Nanos again_at = kForever;  // when time alone may change the answer
};
RolloutLook advance_rollout(const Rollout& rollout, const Fleet& fleet, Nanos now);

// ---- gates
enum class GateVerdict : std::uint8_t { kTooFewSamples, kHolds, kFails };
constexpr GateVerdict last_enumerator(GateVerdict) { return GateVerdict::kFails; }
struct GateFigure {
  RolloutGate gate;
  std::uint64_t value = 0, samples = 0;
  GateVerdict verdict = GateVerdict::kTooFewSamples;
  template <class A>
  void fields(A& a) {
    a(gate, value, samples, verdict);
  }
};
// Of the edges that the newest wave brought the version to, and of all that have it: each gate by the worse of the two.
// (The frames of earlier waves must not hide what a later one does, nor the other way round.)
std::vector<GateFigure> judge_gates(const Rollout& rollout, const Fleet& fleet);

std::string gate_value(const GateFigure& figure);  // in the unit in which the gate is written

// ---- what a version will cost, by what others have
// A release of `bytes`; what is known of releases before it.
struct TransferCost {
  std::uint64_t bytes = 0;
  std::uint64_t before_bytes = 0;  // of the release in force; 0: not known
  const Rollout* last = nullptr;   // the rollout before this one; null: there was none
};
// What each gateway will have fetched from hubs once it has the version, in the order of the fleet. A gateway that has
// it: what it says. Another: what those that have it took; if none has, the same share of the release as in the rollout
// before; else as of the version in force; else all of it. Gateways of a site get a file from each other, so a site
// counts once, and each that has still to stage as likely pays for it as the next: unless what they said of these
// versions shows that they do not.
std::vector<std::uint64_t> expected_fetches(const Fleet& fleet, const TransferCost& cost);
// Bytes and times of each wave, by expected_fetches and by what links and budgets are known to let through.
std::vector<WaveForecast> forecast_waves(const RolloutPlan& plan, const Fleet& fleet, const TransferCost& cost);
// Whether this gateway is one that the wave speaks of.
bool wave_names(const RolloutWave& wave, const FleetEdge& edge);
// How many gateways have the version when the wave is complete; `matching` more could join it.
std::size_t wave_goal(const RolloutWave& wave, std::size_t members, std::size_t matching, std::size_t registered);

// Latencies are counted in buckets, four to an octave, so that those of many edges add up. A p99 is told as the upper
// end of its bucket: at most a quarter above the truth, never below it.
std::uint16_t latency_bucket(std::uint64_t latency_us);
std::uint64_t latency_bucket_top_us(std::uint16_t bucket);

// ---- the audit log of a model, `model:NAME:history`, newest last
struct HistoryEntry {
  std::uint64_t wall_ms = 0;  // C4: for people
  NodeId who;                 // the certificate's name; a hub's own for what it did by itself
  std::string what;
  template <class A>
  void fields(A& a) {
    a(wall_ms, who, what);
  }
};
void add_history(std::vector<HistoryEntry>& history, HistoryEntry entry);
// S5: the rollback by which the version came into force that this pointer names, as far as the log goes back; null when
// it came otherwise.
const HistoryEntry* rolled_back_to(const std::vector<HistoryEntry>& history, const ModelPointer& in_force);

// What `tidelock rollout watch` shows.
struct RolloutView {
  std::optional<Rollout> rollout;
  Nanos ledger_now = 0;
  std::uint32_t registered = 0, reachable = 0, staged = 0, adopted = 0;
  std::uint32_t wanted = 0;  // of the wave that is being staged: how many more edges it takes
  std::vector<GateFigure> gates;
  std::vector<HistoryEntry> history;
  template <class A>
  void fields(A& a) {
    a(rollout, ledger_now, registered, reachable, staged, adopted, wanted, gates, history);
  }
};
// How many edges more the wave that is being staged takes, of those that could be reached now.
std::size_t wave_wants(const Rollout& rollout, const Fleet& fleet);

}  // namespace tidelock
