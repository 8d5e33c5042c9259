#include "sim/translate.h"

#include <utility>

#include "codec/archive.h"
#include "codec/compress.h"
#include "codec/manifest.h"

namespace tidelock::sim {
namespace {

using oracle::Entry;

oracle::When fact(Condition condition) {
  switch (condition) {
    case Condition::kNone: return oracle::When::kAlways;
    case Condition::kAbsent: return oracle::When::kAbsent;
    case Condition::kPresent: return oracle::When::kPresent;
    case Condition::kVersionIs: return oracle::When::kVersionIs;
    case Condition::kAbsentOrSame: return oracle::When::kAbsentOrSame;
    case Condition::kVersionStays: return oracle::When::kVersionStays;
  }
  return oracle::When::kAlways;
}

struct Body {
  decltype(Entry::body) operator()(const Claim& claim) const { return Entry::Claim{claim.hub}; }
  decltype(Entry::body) operator()(const Beacon&) const { return Entry::Beacon{}; }
  decltype(Entry::body) operator()(const Put& put) const {
    Entry::Put body;
    for (const KeyWrite& one : put.writes) {
      const auto named = one.value ? version_named(one.key, *one.value) : std::nullopt;
      body.writes.push_back({one.key, one.value, one.ttl_ns, one.keep_ttl, fact(one.condition), one.expected,
                             named ? named->first + " " + named->second : std::string()});
    }
    return body;
  }
  decltype(Entry::body) operator()(const RecallVersion& recall) const {
    const bool sound = validate_model_name(recall.name) && validate_model_version(recall.version) &&
                       (recall.to.empty() || validate_model_version(recall.to)) &&
                       recall.reason.size() <= kRecallReasonMax && recall.who.size() <= kNodeIdBytesMax;
    return Entry::Recall{recall.name + " " + recall.version, sound};
  }
  decltype(Entry::body) operator()(const CertifyRecall& certify) const {
    const RecallCertificate& of = certify.certificate;
    return Entry::Certify{of.name + " " + of.version, std::get<Entry::Put>((*this)(certify.put)).writes};
  }
  decltype(Entry::body) operator()(const Abort& abort) const { return Entry::Abort{abort.target}; }
  decltype(Entry::body) operator()(const RegisterEdge& edge) const { return Entry::Register{edge.edge}; }
  decltype(Entry::body) operator()(const RemoveEdge& edge) const { return Entry::Remove{edge.edge}; }
  decltype(Entry::body) operator()(const SetLease& lease) const { return Entry::Lease{lease.use_short}; }
  decltype(Entry::body) operator()(const Seed& seed) const {
    Entry::Seed body;
    body.rho_ppm = seed.settings.rho_ppm;
    body.lease_long_ns = seed.settings.lease_long_ns;
    body.lease_short_ns = seed.settings.lease_short_ns;
    for (const Namespace& ns : seed.namespaces) {
      const bool behind = ns.write_mode == WriteMode::kBehind && ns.scope == Scope::kRegion;
      body.policies.push_back({ns.prefix, ns.consistency == Consistency::kStrong, behind});
    }
    return body;
  }
  decltype(Entry::body) operator()(const RaiseVersion& raise) const { return Entry::Raise{raise.version}; }
  decltype(Entry::body) operator()(const Batch& batch) const {
    Entry::Batch body;
    body.edge = batch.edge;
    body.incarnation = batch.incarnation;
    body.number = batch.number;
    for (const BatchRecord& one : batch.records)
      body.records.push_back({one.key, one.value, sim::fact(one.stamp), one.ttl_ns});
    return body;
  }
};

}  // namespace

oracle::Stamp fact(const Stamp& stamp) { return {stamp.wall_ms, stamp.counter, stamp.writer}; }

Entry fact(const Command& command) {
  return {command.id, command.term, command.ledger_time, std::visit(Body{}, command.body)};
}

std::optional<Entry> entry_of(BytesView command) {
  const auto decoded = decode<Command>(command, "ledger command");
  return decoded ? std::optional(fact(*decoded)) : std::nullopt;
}

std::optional<std::vector<oracle::Stamp>> stamps_of(const WriteBatch& batch) {
  constexpr std::size_t kBatchMost = 64u << 20;  // bytes: above what any hub takes
  const auto raw = decompress(batch.records, kBatchMost, "batch");
  if (!raw) return std::nullopt;
  const auto records = decode<std::vector<BatchRecord>>(*raw, "batch");
  if (!records) return std::nullopt;
  std::vector<oracle::Stamp> stamps;
  for (const BatchRecord& record : *records) stamps.push_back(fact(record.stamp));
  return stamps;
}

oracle::Told told_of(std::string where, std::string key, bool found, std::optional<Bytes> value,
                     const Receipt& receipt) {
  oracle::Told told;
  told.where = std::move(where);
  told.key = std::move(key);
  if (found) told.value = std::move(value);
  told.version = receipt.version;
  told.bound_ns = receipt.bound_ns;
  told.local = receipt.basis == Basis::kLocal || (found && receipt.version.value == 0);
  return told;
}

}  // namespace tidelock::sim
