#include "hub/site_table.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "codec/archive.h"

namespace tidelock {
namespace {

constexpr std::size_t kAddressBytesMax = 261;  // a name of 253, brackets, a colon and a port
constexpr std::size_t kNameBytesMax = 256;

}  // namespace

AdminAnswer answer_of(const Error& error) {
  AdminAnswer answer;
  answer.code = error.code;
  answer.message = error.message;
  return answer;
}

Result<void> SiteTable::take(const PeerIdentity& peer, SiteCall call) {
  if (peer.role == NodeRole::kClient) return {};
  if (peer.role != NodeRole::kEdge) return fail(Code::kDenied, identity_name(peer) + " belongs to no site");
  if (call.address.size() > kAddressBytesMax) {
    return fail(Code::kInvalid, "address has " + std::to_string(call.address.size()) + " bytes, at most " +
                                    std::to_string(kAddressBytesMax));
  }
  if (call.bytes.size() > kSiteSourcesMax) {
    return fail(Code::kInvalid,
                std::to_string(call.bytes.size()) + " sources of bytes: at most " + std::to_string(kSiteSourcesMax));
  }
  for (const ModelBytes& one : call.bytes) {
    if (one.name.size() + one.version.size() + one.from.size() > kNameBytesMax)
      return fail(Code::kInvalid, "a source of bytes has names of over " + std::to_string(kNameBytesMax) + " bytes");
  }
  const std::lock_guard lock(mutex_);
  if (!said_.contains(peer.id) && said_.size() >= kEdgesMax) said_.clear();  // I11; they say it again
  said_[peer.id] = std::move(call);
  return {};
}

Result<SiteView> SiteTable::view(const PeerIdentity& peer, const std::vector<EdgeView>& edges) const {
  const auto own = std::find_if(edges.begin(), edges.end(), [&](const EdgeView& edge) {
    return peer.role == NodeRole::kEdge && edge.edge == peer.id && edge.connected;
  });
  if (peer.role == NodeRole::kEdge && own == edges.end())
    return fail(Code::kNotActive, "edge " + peer.id + " has no session with this hub");
  SiteView view;
  const std::lock_guard lock(mutex_);
  for (const EdgeView& edge : edges) {
    const auto said = said_.find(edge.edge);
    if (!edge.connected || said == said_.end()) continue;
    if (peer.role == NodeRole::kClient) {
      view.members.push_back({edge.edge, said->second.address, said->second.bytes});
    } else if (edge.site == own->site && view.members.size() < kSiteMembersMax) {
      view.members.push_back({edge.edge, said->second.address, {}});
    }
  }
  return view;
}

void SiteTable::answer(const PeerIdentity& peer, SiteCall call, const std::function<void(Reply)>& describe,
                       Reply reply) {
  if (const auto taken = take(peer, std::move(call)); !taken) return reply(encode(answer_of(taken.error())));
  describe([this, peer, reply = std::move(reply)](Result<Bytes> raw) {
    if (!raw) return reply(std::move(raw));
    auto answer = decode<AdminAnswer>(*raw, "answer");
    if (!answer) return reply(fail(answer.error()));
    if (answer->code != Code::kOk) return reply(std::move(raw));
    const auto seen = view(peer, answer->edges);
    if (!seen) return reply(encode(answer_of(seen.error())));
    AdminAnswer said;
    said.value = encode(*seen);
    reply(encode(said));
  });
}

}  // namespace tidelock
