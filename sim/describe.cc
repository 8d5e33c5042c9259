#include "sim/describe.h"

namespace tidelock::sim {
namespace {

template <class... Parts>
std::string join(const Parts&... parts) {
  std::string text;
  const auto add = [&](const auto& part) {
    if constexpr (std::is_convertible_v<decltype(part), std::string_view>)
      text += std::string_view(part);
    else if constexpr (std::is_integral_v<std::decay_t<decltype(part)>>)
      text += std::to_string(part);
    else
      text += std::to_string(part.value);
    text += ' ';
  };
  (add(parts), ...);
  return text;
}
std::string stamp(const Stamp& stamp) {
  return "@" + std::to_string(stamp.wall_ms) + "." + std::to_string(stamp.counter) + "." + std::to_string(stamp.writer);
}
std::string describe(const EdgeEntry& entry) {
  return join("v", entry.version, entry.value ? *entry.value : std::string("absent"), "epoch", entry.epoch, "proven",
              entry.proven_at, stamp(entry.stamp), entry.local ? "local" : "");
}

struct Describe {
  // edge -> hub
  std::string operator()(const Hello& m) const { return join("hello applied", m.applied, "term", m.highest_term); }
  std::string operator()(const Probe& m) const { return join("probe", m.nonce); }
  std::string operator()(const BlockAck& m) const { return join("ack block", m.term, m.number); }
  std::string operator()(const Fetch& m) const {
    std::string text = join("fetch", m.request);
    for (const auto& one : m.wanted) text += join(one.key, one.known);
    return text;
  }
  std::string operator()(const WriteThrough& m) const {
    return join("write", m.request, m.writes.front().key, "id", m.id.client % 10'000, m.id.sequence);
  }
  std::string operator()(const WriteBatch& m) const { return join("batch", m.number); }
  std::string operator()(const ListKeys& m) const { return join("list", m.request, m.prefix, m.after); }
  std::string operator()(const KeysListed& m) const { return join("listed", m.request, m.keys.size(), m.last); }
  std::string operator()(const Staged& m) const { return join("staged", m.model.name); }
  // hub -> edge
  std::string operator()(const Welcome& m) const {
    return join("welcome term", m.term, "h0", m.h0, m.reset ? "reset" : "");
  }
  std::string operator()(const Record& m) const {
    std::string text = join("record", m.index, "term", m.term, "block", m.block);
    for (const auto& one : m.keys)
      text += join(one.key, one.value ? *one.value : std::string(one.deleted ? "deleted" : "hint"), stamp(one.stamp));
    return text;
  }
  std::string operator()(const Mark& m) const { return join("mark", m.nonce, "index", m.index, "lease", m.lease_ns); }
  std::string operator()(const Block& m) const { return join("block", m.term, m.number, m.keys.front()); }
  std::string operator()(const Unblock& m) const { return join("unblock", m.term, m.number); }
  std::string operator()(const FetchAnswer& m) const {
    std::string text = join("answer", m.request, "index", m.index);
    for (const auto& one : m.found)
      text += join(one.key, one.version,
                   one.same    ? "same"
                   : one.value ? *one.value
                               : std::string("absent"),
                   stamp(one.stamp));
    return text;
  }
  std::string operator()(const WriteDone& m) const { return join("done", m.request, code_name(m.code), m.index); }
  std::string operator()(const BatchDone& m) const { return join("batch done", m.number, code_name(m.code), m.index); }
  std::string operator()(const Recalled& m) const {
    std::string text = "recalled ";
    for (const StagedModel& one : m.versions) text += join(one.name, one.version);
    return text;
  }
  std::string operator()(const Goodbye& m) const { return join("goodbye", m.reason); }
  // ops
  std::string operator()(const PageOpenBlock&) const { return "page opens block"; }
  std::string operator()(const PageCloseBlock&) const { return "page closes block"; }
  std::string operator()(const PageApplied& m) const { return join("page applied", m.applied); }
  std::string operator()(const PageFresh& m) const { return join("page fresh", m.fresh_at); }
  std::string operator()(const PageLease& m) const { return join("page lease", m.until); }
  std::string operator()(const PageDropProofs&) const { return "page drops proofs"; }
  std::string operator()(const PageEpochs& m) const { return join("page epochs", m.verified, m.strong); }
  std::string operator()(const EntryPut& m) const { return join(m.known ? "fill" : "put", m.key) + describe(m.entry); }
  std::string operator()(const EntryErase& m) const { return join("erase", m.key); }
  std::string operator()(const LinkOpen& m) const { return join("link opens", m.link, m.hint); }
  std::string operator()(const LinkClose& m) const { return join("link closes", m.link, m.reason); }
  std::string operator()(const LinkSend& m) const { return "sends " + sim::describe(m.frame); }
  std::string operator()(const ReadDone& m) const {
    return join("read", m.token, code_name(m.code), "v", m.receipt.version, basis_name(m.receipt.basis),
                m.receipt.bound_ns, m.receipt.fallback ? "fallback" : "");
  }
  std::string operator()(const WriteDoneOp& m) const { return join("write", m.token, code_name(m.code), m.index); }
  std::string operator()(const SessionOpened& m) const {
    return join("session with", m.hub, "term", m.term, m.reset ? "reset" : "");
  }
  std::string operator()(const EdgeNote& m) const { return join(m.event, m.detail); }
  template <class Other>
  std::string operator()(const Other&) const {
    return {};
  }
};

}  // namespace

std::string describe(const EdgeFrame& frame) { return std::visit(Describe{}, frame.body); }
std::string describe(const HubFrame& frame) { return std::visit(Describe{}, frame.body); }
std::string describe(const EdgeActions::Op& op) { return std::visit(Describe{}, op); }
std::string describe(const Command& command) {
  constexpr const char* kNames[] = {"claim", "beacon", "put",   "abort",   "register", "remove",
                                    "lease", "seed",   "batch", "version", "recall",   "certificate"};
  std::string text =
      join(kNames[command.body.index()], "id", command.id.client % 10'000, command.id.sequence, "term", command.term);
  if (const auto* abort = std::get_if<Abort>(&command.body))
    text += join("of", abort->target.client % 10'000, abort->target.sequence);
  if (const auto* recall = std::get_if<RecallVersion>(&command.body)) text += join(recall->name, recall->version);
  const auto* put = std::get_if<Put>(&command.body);
  if (const auto* certify = std::get_if<CertifyRecall>(&command.body)) {
    text += join(certify->certificate.name, certify->certificate.version);
    put = &certify->put;
  }
  if (put != nullptr) {
    for (const auto& one : put->writes) text += join(one.key, one.value ? *one.value : std::string("deleted"));
  }
  if (const auto* claim = std::get_if<Claim>(&command.body)) text += claim->hub;
  return text;
}

std::string describe(const Plan& plan) {
  const ClusterSettings& settings = plan.seed.settings;
  const auto ms = [](Nanos span) { return std::to_string(span / kMillisecond) + " ms"; };
  std::string text = std::to_string(plan.hubs) + " hubs, " + std::to_string(plan.edges) + " edges, rho " +
                     std::to_string(settings.rho_ppm) + " ppm, window " + ms(settings.authority_window_ns) +
                     ", leases " + ms(settings.lease_long_ns) + " and " + ms(settings.lease_short_ns) +
                     ", bounds from " + ms(plan.bound_least) + ", a fault every " + ms(plan.fault_gap);
  if (plan.byte_ns != 0) text += ", radio links";
  if (plan.interest_max < 1'000) text += ", interest in " + std::to_string(plan.interest_max) + " keys";
  if (plan.ring_max < 1'000) text += ", a ring of " + std::to_string(plan.ring_max);
  return text;
}

}  // namespace tidelock::sim
