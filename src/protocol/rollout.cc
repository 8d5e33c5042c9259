// A rollout is read, judged and replaced as one value. How a wave passes:
//
//   staging    its edges fetch and verify in the background; activated when enough of those that can be reached have
//              staged the version, or when patience ran out and at least one has
//   dwelling   its gates are watched: one that fails rolls everything back at once; when all hold at the end of the
//              dwell time, the next wave is staged
//
// Whoever is away joins nothing by name. When it returns it reads the pointers as they are then.

#include "protocol/rollout.h"

#include <algorithm>
#include <map>

#include "base/mutant.h"
#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr std::uint16_t kLatencyBuckets = 4 * 40;  // the last one begins at half an hour

bool last_wave(const Rollout& rollout) { return rollout.wave + 1 >= rollout.plan.waves.size(); }

// An order of its own for each version, so that it is not always the same gateways that go first.
std::uint64_t lot(const std::string& version, const NodeId& edge) { return hash64(version + "/" + edge); }

// Who may join the wave, in the order in which they are asked.
std::vector<const FleetEdge*> candidates(const Rollout& rollout, const Fleet& fleet) {
  const std::vector<NodeId> members = rollout.members();
  const RolloutWave& wave = rollout.plan.waves[rollout.wave];
  std::vector<const FleetEdge*> list;
  for (const FleetEdge& edge : fleet) {
    if (edge.reachable && edge.rings && wave_names(wave, edge) &&
        !std::binary_search(members.begin(), members.end(), edge.edge))
      list.push_back(&edge);
  }
  std::sort(list.begin(), list.end(), [&](const FleetEdge* a, const FleetEdge* b) {
    return std::pair{lot(rollout.plan.version, a->edge), a->edge} <
           std::pair{lot(rollout.plan.version, b->edge), b->edge};
  });
  return list;
}

std::uint64_t fetched(const FleetEdge& edge) { return edge.health == nullptr ? 0 : edge.health->fetched_bytes; }

RolloutStep pause(const Rollout& rollout, std::string why, Nanos now) {
  RolloutStep step{rollout, RolloutStep::Pointers::kKeep, "paused: " + why};
  step.next.phase = RolloutPhase::kPaused;
  step.next.paused_from = rollout.phase;
  step.next.paused_at = now;
  step.next.reason = std::move(why);
  return step;
}

RolloutStep give_up(const Rollout& rollout, RolloutPhase end, std::string why) {
  RolloutStep step{rollout, RolloutStep::Pointers::kKeep, {}};
  step.next.phase = end;
  step.next.reason = std::move(why);
  if (!rollout.waves.empty())
    step.pointers = RolloutStep::Pointers::kBack;  // S5
  else if (rollout.started_at != 0)
    step.pointers = RolloutStep::Pointers::kUnstage;
  const bool back = step.pointers == RolloutStep::Pointers::kBack;
  step.said = (end == RolloutPhase::kAborted ? "aborted" : "rolled back") +
              (back ? ", every gateway returns to " + rollout.before.version : std::string()) +
              (step.next.reason.empty() ? std::string() : ": " + step.next.reason);
  return step;
}

std::string wave_name(const Rollout& rollout) {
  return "wave " + std::to_string(rollout.wave + 1) + " of " + std::to_string(rollout.plan.waves.size()) + " (" +
         describe(rollout.plan.waves[rollout.wave]) + ")";
}

void note_stuck(WaveRecord& record, const std::vector<NodeId>& stuck) {
  record.stuck_count = static_cast<std::uint32_t>(stuck.size());
  record.stuck.assign(stuck.begin(),
                      stuck.begin() + static_cast<std::ptrdiff_t>(std::min(stuck.size(), kStuckNamesMax)));
}

RolloutStep activate(const Rollout& rollout, WaveRecord record) {
  record.wave = rollout.wave;
  RolloutStep step{rollout, last_wave(rollout) ? RolloutStep::Pointers::kAll : RolloutStep::Pointers::kRing, {}};
  step.said = wave_name(rollout) + " activated on " + std::to_string(record.edges) + " gateways";
  if (record.stuck_count > 0)
    step.said += ", without " + std::to_string(record.stuck_count) + " that have not staged it";
  step.next.waves.push_back(std::move(record));
  step.next.phase = RolloutPhase::kDwelling;
  step.next.since = 0;
  return step;
}

RolloutStep next_wave(const Rollout& rollout, std::string said, Nanos now) {
  RolloutStep step{rollout, RolloutStep::Pointers::kKeep, std::move(said)};
  step.next.since = now;
  step.next.phase = RolloutPhase::kDone;
  if (!last_wave(rollout)) {
    step.next.phase = RolloutPhase::kStaging;
    ++step.next.wave;
  }
  return step;
}

RolloutLook stage_last(const Rollout& rollout, const Fleet& fleet, Nanos now) {
  const Nanos patient_until = saturating_add(rollout.since, rollout.plan.patience_ns);
  const std::vector<NodeId> members = rollout.members();
  std::vector<NodeId> stuck;
  WaveRecord record;
  bool any_staged = false;
  for (const FleetEdge& edge : fleet) {
    any_staged = any_staged || (edge.reachable && edge.staged);
    if (std::binary_search(members.begin(), members.end(), edge.edge)) continue;
    if (edge.reachable && !edge.staged) stuck.push_back(edge.edge);
    ++record.edges;
    record.bytes += fetched(edge);
  }
  if (now < patient_until && (!stuck.empty() || !any_staged)) return {std::nullopt, patient_until};
  if (!any_staged) {
    return {pause(rollout, "no gateway that can be reached has staged " + rollout.plan.version, now), kForever};
  }
  note_stuck(record, stuck);
  return {activate(rollout, std::move(record)), kForever};
}

RolloutLook stage(const Rollout& rollout, const Fleet& fleet, Nanos now) {
  if (last_wave(rollout)) return stage_last(rollout, fleet, now);
  const Nanos patient_until = saturating_add(rollout.since, rollout.plan.patience_ns);
  const bool patient = now < patient_until;
  const RolloutWave& wave = rollout.plan.waves[rollout.wave];
  const std::size_t members = rollout.members().size();
  const std::vector<const FleetEdge*> list = candidates(rollout, fleet);
  const std::size_t wanted = wave_goal(wave, members, list.size(), fleet.size());
  if (wave.size != RolloutWave::Size::kLabel && wanted <= members)
    return {next_wave(rollout, wave_name(rollout) + " adds nobody", now), kForever};
  const std::size_t need = std::min(wanted - members, kRingEdgesMax - std::min(members, kRingEdgesMax));
  WaveRecord record;
  std::vector<NodeId> stuck;
  for (const FleetEdge* edge : list) {
    if (!edge->staged && !TIDELOCK_MUTANT(kWaveTakesUnstaged)) {
      stuck.push_back(edge->edge);
    } else if (record.added.size() < need) {
      record.added.push_back(edge->edge);
      record.bytes += fetched(*edge);
    }
  }
  if (need == 0 && members >= kRingEdgesMax)
    return {next_wave(rollout, wave_name(rollout) + " adds nobody: as many as can be are ahead", now), kForever};
  const bool complete = record.added.size() >= need && need > 0;
  if (!complete && patient) return {std::nullopt, patient_until};
  if (record.added.empty()) {
    return {
        pause(rollout, wave_name(rollout) + ": no gateway of it that can be reached has staged " + rollout.plan.version,
              now),
        kForever};
  }
  record.edges = static_cast<std::uint32_t>(record.added.size());
  if (!complete) note_stuck(record, stuck);
  return {activate(rollout, std::move(record)), kForever};
}

std::optional<RolloutStep> failed_gate(const Rollout& rollout, const Fleet& fleet) {
  if (rollout.waves.empty()) return std::nullopt;
  for (const GateFigure& figure : judge_gates(rollout, fleet)) {
    if (figure.verdict != GateVerdict::kFails) continue;
    return give_up(rollout, RolloutPhase::kRolledBack,
                   wave_name(rollout) + ": gate " + describe(figure.gate) + " failed with " + gate_value(figure) +
                       " of " + std::to_string(figure.samples) + " samples");
  }
  return std::nullopt;
}

RolloutLook dwell(const Rollout& rollout, const Fleet& fleet, Nanos now) {
  if (!TIDELOCK_MUTANT(kGateNotJudged)) {
    if (auto back = failed_gate(rollout, fleet)) return {std::move(back), kForever};
  }
  if (rollout.since == 0) {
    RolloutStep seen{rollout, RolloutStep::Pointers::kKeep, {}};
    seen.next.since = seen.next.waves.back().activated_at = std::max<Nanos>(now, 1);
    return {std::move(seen), kForever};
  }
  const Nanos dwelt_at = saturating_add(rollout.since, rollout.plan.dwell_ns);
  if (now < dwelt_at && !TIDELOCK_MUTANT(kDwellSkipped)) return {std::nullopt, dwelt_at};
  const std::vector<GateFigure> figures = judge_gates(rollout, fleet);
  const auto lacking = std::find_if(figures.begin(), figures.end(), [](const GateFigure& figure) {
    return figure.verdict == GateVerdict::kTooFewSamples;
  });
  if (lacking != figures.end() && !TIDELOCK_MUTANT(kGateNotJudged)) {
    const Nanos patient_until = saturating_add(dwelt_at, rollout.plan.patience_ns);
    if (now < patient_until) return {std::nullopt, patient_until};
    return {
        pause(rollout,
              wave_name(rollout) + ": gate " + describe(lacking->gate) +
                  (lacking->gate.on == RolloutGate::On::kSick
                       ? " has word of " + std::to_string(lacking->samples) +
                             " gateways of the wave only; the others said nothing since it was activated"
                       : " has " + std::to_string(lacking->samples) + " samples; do the apps report with TL.HEALTH?"),
              now),
        kForever};
  }
  RolloutStep step = next_wave(rollout, wave_name(rollout) + ": every gate holds", now);
  WaveRecord& record = step.next.waves.back();
  record.ended_at = now;
  const std::vector<NodeId> members = rollout.members();
  std::uint64_t bytes = 0;  // of those who fetched it after the wave had begun as well
  for (const FleetEdge& edge : fleet) {
    const bool its = last_wave(rollout)
                         ? !std::binary_search(members.begin(), members.end(), edge.edge)
                         : std::find(record.added.begin(), record.added.end(), edge.edge) != record.added.end();
    if (its) bytes += fetched(edge);
  }
  record.bytes = std::max(record.bytes, bytes);  // a gateway that started again counts from zero
  if (step.next.phase == RolloutPhase::kDone)
    step.said = rollout.plan.version + " is in force everywhere, every gate holds";
  return {std::move(step), kForever};
}

Result<void> check_holder(const Rollout& held, const std::string& name, const NodeId& who, bool take_over) {
  if (held.holder == who || take_over || TIDELOCK_MUTANT(kAnyoneGoesOn)) return {};
  return fail(Code::kConflict, "the rollout of '" + name + "' to " + held.plan.version + " is held by '" + held.holder +
                                   "'; ask them, or take it over with --take-over");
}

std::string where(const Rollout& rollout) {
  if (rollout.phase == RolloutPhase::kPlanned) return "planned";
  return std::string(phase_name(rollout.phase)) + ", " + wave_name(rollout);
}

Result<RolloutStep> make_plan(const Rollout* held, const RolloutCommand& command, const NodeId& who,
                              const RolloutTarget& target, const Fleet& fleet) {
  if (const auto ok = validate_plan(command.plan); !ok) return fail(ok.error());
  if (held != nullptr && held->under_way() && !TIDELOCK_MUTANT(kAnyoneGoesOn)) {
    if (held->phase != RolloutPhase::kPlanned) {
      return fail(Code::kConflict, "a rollout of '" + command.name + "' to " + held->plan.version + " is under way (" +
                                       where(*held) + "), held by '" + held->holder +
                                       "'; it must end, or be aborted, before another is planned");
    }
    if (const auto ok = check_holder(*held, command.name, who, command.take_over); !ok) return fail(ok.error());
  }
  if (target.before.version.empty()) {
    return fail(Code::kConflict, "'" + command.name +
                                     "' has no version in force, so there is nothing to roll back to; "
                                     "activate the first one with `tidelock model activate`");
  }
  if (target.before.version == command.plan.version) {
    return fail(Code::kConflict, "'" + command.name + "' " + command.plan.version + " is in force already");
  }
  RolloutStep step;
  step.next.plan = command.plan;
  step.next.holder = who;
  step.next.to = target.to;
  step.next.to.previous = target.before.version;
  step.next.before = target.before;
  step.next.bytes = target.bytes;
  step.next.forecast = forecast_waves(command.plan, fleet, {target.bytes, target.before_bytes, held});
  std::string waves;
  for (const RolloutWave& wave : command.plan.waves) waves += (waves.empty() ? "" : ", ") + describe(wave);
  step.said = "planned " + command.plan.version + " in waves " + waves;
  return step;
}

Result<RolloutStep> start(RolloutStep step, Nanos now) {
  Rollout& next = step.next;
  next.phase = RolloutPhase::kStaging;
  next.since = next.started_at = std::max<Nanos>(now, 1);
  step.pointers = RolloutStep::Pointers::kStage;
  step.said = (step.said.empty() ? "" : step.said + "; ") + "started " + next.plan.version;
  return step;
}

struct Samples {
  std::uint64_t frames = 0, errors = 0, sick = 0, timed = 0, drift_ppm = 0, drift_reports = 0;
  std::map<std::uint16_t, std::uint64_t> latency;
  std::size_t edges = 0;      // that have the version
  std::size_t reachable = 0;  // of them
  std::size_t heard = 0;      // that said themselves that they have it

  void add(const ModelHealth& health) {
    ++heard;
    frames += health.frames;
    errors += health.errors;
    sick += health.sick;
    drift_ppm = std::max(drift_ppm, health.drift_ppm);
    drift_reports += health.drift_reports;
    for (const auto& [bucket, count] : health.latency) {
      latency[bucket] += count;
      timed += count;
    }
  }
  std::uint64_t p99_us() const {
    std::uint64_t above = 0;
    for (auto it = latency.rbegin(); it != latency.rend(); ++it) {
      above += it->second;
      if (above * 100 > timed) return latency_bucket_top_us(it->first);
    }
    return 0;
  }
};

// `heard_min`: a gate that no report fails says nothing of those that report nothing.
GateFigure judge(const RolloutGate& gate, const Samples& samples, std::uint64_t samples_min, std::size_t heard_min) {
  GateFigure figure{gate, 0, samples.frames, GateVerdict::kTooFewSamples};
  std::uint64_t needed = std::max<std::uint64_t>(1, samples_min);
  switch (gate.on) {
    case RolloutGate::On::kErrorRate:
      if (samples.frames > 0)
        figure.value =
            static_cast<std::uint64_t>(static_cast<double>(samples.errors) * 1e6 / static_cast<double>(samples.frames));
      break;
    case RolloutGate::On::kP99Latency:
      figure.samples = samples.timed;
      figure.value = samples.p99_us();
      break;
    case RolloutGate::On::kDrift:
      figure.samples = samples.drift_reports;
      figure.value = samples.drift_ppm;
      needed = 1;
      break;
    case RolloutGate::On::kSick:
      figure.samples = samples.heard;
      figure.value = samples.sick;
      needed = heard_min;
      break;
  }
  if (figure.samples < needed && (gate.on != RolloutGate::On::kSick || figure.value < gate.below)) return figure;
  figure.verdict = figure.value < gate.below ? GateVerdict::kHolds : GateVerdict::kFails;
  return figure;
}

}  // namespace

namespace {
struct NumberedRollout {
  Rollout rollout;
  std::vector<std::uint32_t> waves;  // of its records
  template <class A>
  void fields(A& a) {
    rollout.fields(a);
    a(waves);
  }
};
}  // namespace

Bytes encode_rollout(const Rollout& rollout, std::uint32_t ledger_version) {
  if (ledger_version < kLedgerVersionRecalls) return encode(rollout);
  NumberedRollout numbered{rollout, {}};
  for (const WaveRecord& record : rollout.waves) numbered.waves.push_back(record.wave);
  return encode(numbered);
}

Result<Rollout> decode_rollout(BytesView bytes) {
  if (auto numbered = decode<NumberedRollout>(bytes, "rollout");
      numbered && numbered->waves.size() == numbered->rollout.waves.size()) {
    for (std::size_t i = 0; i < numbered->waves.size(); ++i) numbered->rollout.waves[i].wave = numbered->waves[i];
    return std::move(numbered->rollout);
  }
  auto plain = decode<Rollout>(bytes, "rollout");
  if (!plain) return plain;
  for (std::size_t i = 0; i < plain->waves.size(); ++i) plain->waves[i].wave = static_cast<std::uint32_t>(i);
  return plain;
}

bool RingPointer::has(const NodeId& edge) const { return std::binary_search(members.begin(), members.end(), edge); }

std::vector<NodeId> Rollout::members() const {
  std::vector<NodeId> list;
  for (const WaveRecord& one : waves) list.insert(list.end(), one.added.begin(), one.added.end());
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

Result<RolloutStep> command_rollout(const Rollout* held, const RolloutCommand& command, const NodeId& who,
                                    const RolloutTarget& target, const Fleet& fleet, Nanos now) {
  using What = RolloutCommand::What;
  RolloutCommand plan = command;
  if (command.what == What::kStart && command.plan.version.empty() && held != nullptr &&
      held->phase == RolloutPhase::kPlanned) {
    plan.plan = held->plan;  // anew: what was in force when it was planned may have been replaced since
  }
  if (command.what == What::kPlan || (command.what == What::kStart && !plan.plan.version.empty())) {
    auto step = make_plan(held, plan, who, target, fleet);
    if (!step || command.what == What::kPlan) return step;
    return start(std::move(*step), now);
  }
  if (held == nullptr) {
    return fail(Code::kNotFound, "no rollout of '" + command.name + "' was ever planned; `tidelock rollout plan " +
                                     command.name + " VERSION --waves ...` makes one");
  }
  const auto conflict = [&](const std::string& why) {
    return fail(Code::kConflict, "the rollout of '" + command.name + "' to " + held->plan.version + " is " +
                                     where(*held) + ", held by '" + held->holder + "': " + why);
  };
  if (!held->under_way()) return conflict("it has ended; plan a new one");
  if (command.what == What::kAbort) return give_up(*held, RolloutPhase::kAborted, "by " + who);
  if (command.what == What::kPause) {
    if (held->phase == RolloutPhase::kPlanned) return conflict("it has not started yet");
    if (held->phase == RolloutPhase::kPaused) return conflict("it is paused already");
    return pause(*held, "by " + who, now);
  }
  if (const auto ok = check_holder(*held, command.name, who, command.take_over); !ok) return fail(ok.error());
  if (command.what == What::kStart) return conflict("it has started already");
  if (held->phase != RolloutPhase::kPaused) return conflict("only a paused one can be resumed");
  RolloutStep step{*held, RolloutStep::Pointers::kKeep, "resumed"};
  Rollout& next = step.next;
  next.holder = who;
  next.phase = held->paused_from;
  next.reason.clear();
  // Staging gets its patience anew. A dwell time goes on where it was; when it was over, patience begins anew.
  next.since = now;
  if (next.phase == RolloutPhase::kDwelling && held->since == 0) {
    next.since = 0;
  } else if (next.phase == RolloutPhase::kDwelling) {
    next.since = std::max(saturating_add(held->since, saturating_sub(now, held->paused_at)),
                          saturating_sub(now, held->plan.dwell_ns));
  }
  next.paused_at = 0;
  return step;
}

RolloutLook advance_rollout(const Rollout& rollout, const Fleet& fleet, Nanos now) {
  switch (rollout.phase) {
    case RolloutPhase::kStaging: {
      // What the earlier waves do is watched all the time.
      if (auto back = failed_gate(rollout, fleet); back && !TIDELOCK_MUTANT(kGateNotJudged))
        return {std::move(back), kForever};
      return stage(rollout, fleet, now);
    }
    case RolloutPhase::kDwelling: return dwell(rollout, fleet, now);
    case RolloutPhase::kPaused: {  // it does not go on, but it does go back
      auto back = failed_gate(rollout, fleet);
      return {TIDELOCK_MUTANT(kGateNotJudged) ? std::nullopt : std::move(back), kForever};
    }
    default: return {};
  }
}

std::vector<GateFigure> judge_gates(const Rollout& rollout, const Fleet& fleet) {
  std::vector<GateFigure> figures;
  if (rollout.waves.empty()) return figures;
  const std::vector<NodeId> members = rollout.members();
  const std::vector<NodeId>& added = rollout.waves.back().added;
  Samples newest, all;
  for (const FleetEdge& edge : fleet) {
    const bool ahead = std::binary_search(members.begin(), members.end(), edge.edge);
    if (!ahead && !rollout.everywhere()) continue;
    const bool its = rollout.everywhere() ? !ahead : std::find(added.begin(), added.end(), edge.edge) != added.end();
    ++all.edges;
    newest.edges += its;
    newest.reachable += its && edge.reachable;
    // What was told of the version while it was only tried, or before it was taken back, is not of this time.
    if (edge.health == nullptr || !edge.health->in_force) continue;
    all.add(*edge.health);
    if (its) newest.add(*edge.health);
  }
  // All of a wave could be reached when it was activated, so half of them must have said that they have the version:
  // one that takes its gateways down is not to pass because nobody is left to say so. The last wave is the rest of the
  // fleet, of which many may have been away for long.
  const std::size_t heard_min =
      std::max<std::size_t>(1, ((rollout.everywhere() ? newest.reachable : newest.edges) + 1) / 2);
  for (const RolloutGate& gate : rollout.plan.gates) {
    GateFigure of_all = judge(gate, all, rollout.plan.samples_min, 1);
    GateFigure of_newest = judge(gate, newest, rollout.plan.samples_min, heard_min);
    const bool all_tells = of_all.verdict == GateVerdict::kFails || newest.edges == 0;
    figures.push_back(of_newest.verdict != GateVerdict::kFails && all_tells ? of_all : of_newest);
  }
  return figures;
}

std::size_t wave_wants(const Rollout& rollout, const Fleet& fleet) {
  if (rollout.phase != RolloutPhase::kStaging) return 0;
  const std::vector<NodeId> members = rollout.members();
  if (last_wave(rollout)) {
    return static_cast<std::size_t>(std::count_if(fleet.begin(), fleet.end(), [&](const FleetEdge& edge) {
      return edge.reachable && !std::binary_search(members.begin(), members.end(), edge.edge);
    }));
  }
  const std::size_t matching = candidates(rollout, fleet).size();
  const std::size_t wanted = wave_goal(rollout.plan.waves[rollout.wave], members.size(), matching, fleet.size());
  return wanted > members.size() ? wanted - members.size() : 0;
}

// Bucket 4 * octave + quarter: [2^octave * (4 + quarter) / 4, the next one's begin).
std::uint16_t latency_bucket(std::uint64_t latency_us) {
  if (latency_us < 4) return static_cast<std::uint16_t>(latency_us);
  std::uint16_t octave = 2;
  while (octave < 63 && (latency_us >> octave) > 1) ++octave;
  const auto quarter = static_cast<std::uint16_t>((latency_us >> (octave - 2)) & 3);
  return std::min<std::uint16_t>(static_cast<std::uint16_t>(4 * (octave - 1) + quarter), kLatencyBuckets - 1);
}

std::uint64_t latency_bucket_top_us(std::uint16_t bucket) {
  if (bucket < 4) return bucket;
  const std::uint16_t octave = std::min<std::uint16_t>(bucket, kLatencyBuckets - 1) / 4 + 1;
  const std::uint64_t quarter = bucket % 4;
  return ((4 + quarter + 1) << (octave - 2)) - 1;
}

void add_history(std::vector<HistoryEntry>& history, HistoryEntry entry) {
  if (entry.what.size() > 300) entry.what.resize(300);
  history.push_back(std::move(entry));
  if (history.size() > kHistoryMax)
    history.erase(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(history.size() - kHistoryMax));
}

const HistoryEntry* rolled_back_to(const std::vector<HistoryEntry>& history, const ModelPointer& in_force) {
  // Those are the lines of hub_models.cc and of make_plan. A rollout that went back has put the pointer there again
  // that it found, so it changes nothing.
  const std::string& version = in_force.version;
  const std::string back = "rolled back to " + version, from = " from " + in_force.previous;
  for (auto it = history.rbegin(); it != history.rend(); ++it) {
    if (it->what == "activated " + version || it->what.ends_with("started " + version) ||
        it->what.starts_with(version + " is in force everywhere"))
      return nullptr;
    if (it->what == back || it->what == back + from) return &*it;
  }
  return nullptr;
}

}  // namespace tidelock
