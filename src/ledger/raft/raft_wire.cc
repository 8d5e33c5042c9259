#include "ledger/raft/raft_wire.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ledger/raft/raft_driver.h"

namespace tidelock {

// A configuration: version 1, count (8 bytes), each: number (8), address and a zero byte, role (1); zeros up to 8.
Bytes encode_configuration(const std::vector<RaftServer>& servers) {
  Bytes out;
  const auto put64 = [&out](std::uint64_t v) {
    for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(v >> (8 * i)));
  };
  out.push_back(1);
  put64(servers.size());
  for (const RaftServer& server : servers) {
    put64(server.number);
    out.append(server.address);
    out.push_back('\0');
    out.push_back(static_cast<char>(server.role));
  }
  while (out.size() % 8 != 0) out.push_back('\0');
  return out;
}

Result<std::vector<RaftServer>> decode_configuration(BytesView bytes) {
  const auto broken = [](const char* what) { return fail(Code::kCorrupt, std::string("raft configuration: ") + what); };
  std::size_t at = 0;
  const auto get64 = [&](std::uint64_t& v) {
    if (bytes.size() - at < 8) return false;
    v = 0;
    for (int i = 7; i >= 0; --i) v = (v << 8) | static_cast<unsigned char>(bytes[at + static_cast<std::size_t>(i)]);
    at += 8;
    return true;
  };
  std::uint64_t count = 0;
  if (bytes.empty() || bytes[at++] != 1) return broken("version is not 1");
  if (!get64(count)) return broken("truncated");
  if (count == 0 || count > kServersMax) return broken("number of members is not 1 to 64");
  std::vector<RaftServer> out;
  for (std::uint64_t i = 0; i < count; ++i) {
    RaftServer server;
    if (!get64(server.number)) return broken("truncated");
    const std::size_t end = bytes.find('\0', at);
    if (end == BytesView::npos || end + 1 >= bytes.size()) return broken("truncated");
    if (end - at > kAddressBytesMax) return broken("an address is longer than 256 bytes");
    server.address = Bytes(bytes.substr(at, end - at));
    const auto role = static_cast<unsigned char>(bytes[end + 1]);
    if (role > static_cast<unsigned char>(RaftRole::kSpare)) return broken("unknown role");
    server.role = static_cast<RaftRole>(role);
    at = end + 2;
    if (server.number == 0) return broken("a member has number 0");
    for (const RaftServer& other : out) {
      if (other.number == server.number || other.address == server.address) return broken("a member appears twice");
    }
    out.push_back(std::move(server));
  }
  if (bytes.size() - at >= 8) return broken("bytes after the end");
  for (; at < bytes.size(); ++at) {
    if (bytes[at] != '\0') return broken("bytes after the end");
  }
  return out;
}

const char* fault_of(const WireVote& m) { return m.term == 0 ? "term 0" : nullptr; }
const char* fault_of(const WireVoteResult&) { return nullptr; }
const char* fault_of(const WireAppend& m) {
  if (m.term == 0) return "term 0";
  if ((m.prev_index == 0) != (m.prev_term == 0)) return "previous index and term disagree";
  if (m.prev_index >= kIndexMax || m.prev_term > m.term) return "previous entry out of range";
  if (m.prev_index == 0 && !m.entries.empty() && m.entries[0].type != RaftEntryType::kChange) {
    return "entry 1 is not a configuration";
  }
  std::uint64_t term = std::max<std::uint64_t>(m.prev_term, 1);
  for (const RaftEntry& entry : m.entries) {
    if (entry.term < term || entry.term > m.term) return "terms of entries fall";
    term = entry.term;
    if (entry.type == RaftEntryType::kChange && !decode_configuration(entry.payload)) return "malformed configuration";
  }
  return nullptr;
}
const char* fault_of(const WireAppendResult& m) {
  return m.rejected > 0 && m.last_index >= m.rejected ? "rejected index not above the last" : nullptr;
}
const char* fault_of(const WireInstall& m) {
  if (m.term == 0 || m.last_index == 0 || m.last_term == 0) return "zero index or term";
  if (m.last_index >= kIndexMax || m.last_term > m.term) return "index or term out of range";
  if (m.configuration_index == 0 || m.configuration_index > m.last_index) return "configuration index out of range";
  return decode_configuration(m.configuration) ? nullptr : "malformed configuration";
}
const char* fault_of(const WireTimeoutNow& m) { return m.term == 0 ? "term 0" : nullptr; }

}  // namespace tidelock
