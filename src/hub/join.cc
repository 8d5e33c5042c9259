#include "hub/join.h"

#include <cstdio>
#include <fstream>
#include <mutex>
#include <sstream>
#include <vector>

#include "base/wall_clock.h"
#include "codec/archive.h"
#include "hub/hub.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {

constexpr std::int64_t kCertificateDays = 825;

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Removes the token with this number from the file and returns it. One joiner at a time.
Result<JoinToken> take_token(const std::string& path, const std::string& number) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const auto text = read_text(path);
  if (!text) return fail(Code::kDenied, "this hub has no open tokens; make one with `tidelock hub token`");
  std::istringstream lines(*text);
  std::string line;
  std::string rest;
  std::optional<JoinToken> found;
  while (std::getline(lines, line)) {
    auto token = parse_join_token(line);
    if (token && token->number == number && !found)
      found = std::move(*token);
    else if (!line.empty())
      rest += line + "\n";
  }
  if (!found) return fail(Code::kDenied, "the token is unknown or was used already");
  const std::string next = path + ".next";
  {
    std::ofstream out(next, std::ios::binary | std::ios::trunc);
    out << rest;
    if (!out.flush()) return fail(Code::kBusy, "cannot write " + next);
  }
  if (std::rename(next.c_str(), path.c_str()) != 0) return fail(Code::kBusy, "cannot replace " + path);
  return *found;
}

Result<Bytes> serve(const HubConfig& config, const HttpRequest& request) {
  if (config.ca_key_file.empty())
    return fail(Code::kDenied, "this hub does not hold the CA key; ask the hub that was set up with `hub init`");
  const auto asked = decode<JoinRequest>(request.body, "join request");
  if (!asked) return fail(asked.error());
  const auto ca_pem = read_text(config.tls.ca_file);  // first: what this hub cannot do must not cost the token
  const auto ca_key = read_text(config.ca_key_file);
  if (!ca_pem || !ca_key)
    return fail(Code::kBusy, "the CA's files cannot be read: " + config.tls.ca_file + ", " + config.ca_key_file);
  auto token = take_token(config.join_tokens_file, asked->token_number);
  if (!token) return fail(token.error());
  const std::int64_t now_s = static_cast<std::int64_t>(wall_ms_now() / 1000);  // C4: certificates expire by wall time
  const auto identity = verify_join(*token, asked->csr_pem, asked->proof, now_s);
  if (!identity) return fail(identity.error());
  NodeNames names;
  names.dns = {"localhost"};
  names.ip = {"127.0.0.1"};
  auto certificate = sign_csr(KeyPair{*ca_pem, *ca_key}, asked->csr_pem, *identity, names,
                              Validity{now_s - 3600, now_s + kCertificateDays * 86400});
  if (!certificate) return fail(certificate.error());
  log(LogLevel::kInfo, "hub", "node joined", {{"name", identity_name(*identity)}});
  JoinReply reply{*certificate, *ca_pem, join_answer_proof(*token, asked->csr_pem, *certificate, *ca_pem)};
  return encode(reply);
}

}  // namespace

HttpResponse answer_join(const HubConfig& config, const HttpRequest& request) {
  const auto answer = serve(config, request);
  if (!answer) return http_error(answer.error());
  return HttpResponse{200, "application/octet-stream", *answer};
}

Result<Joined> join_cluster(const std::string& hub_http_address, const std::string& text,
                            const PeerIdentity& identity) {
  const auto token = parse_join_token(text);
  if (!token) return fail(token.error());
  auto csr = make_csr(identity);
  if (!csr) return fail(csr.error());
  JoinRequest request{token->number, csr->csr_pem, join_proof(*token, csr->csr_pem)};
  const auto response =
      http_request(hub_http_address, "POST", "/join", encode(request), "application/octet-stream", 10'000);
  if (!response) return fail(response.error());
  if (response->status != 200)
    return fail(Code::kDenied, hub_http_address + " refused to enrol this node: " + response->body);
  const auto reply = decode<JoinReply>(response->body, "join reply");
  if (!reply) return fail(reply.error());
  if (const auto ok = verify_join_answer(*token, csr->csr_pem, reply->certificate_pem, reply->ca_pem, reply->proof);
      !ok) {
    return fail(ok.error());
  }
  return Joined{KeyPair{reply->certificate_pem, csr->key_pem}, reply->ca_pem};
}

}  // namespace tidelock
