// `join --token`: a node without a certificate asks a hub for one. Carried over HTTP because the node cannot speak
// mutual TLS yet; request and answer are bound to the token, which never travels (codec/certificate.h).
#pragma once

#include <string>

#include "base/result.h"
#include "codec/certificate.h"
#include "wire/http/server.h"

namespace tidelock {

struct HubConfig;

struct JoinRequest {
  std::string token_number;
  std::string csr_pem;
  Bytes proof;
  template <class A>
  void fields(A& a) {
    a(token_number, csr_pem, proof);
  }
};
struct JoinReply {
  std::string certificate_pem;
  std::string ca_pem;
  Bytes proof;
  template <class A>
  void fields(A& a) {
    a(certificate_pem, ca_pem, proof);
  }
};

// Serves POST /join: checks the token against `join_tokens_file`, signs with the CA key, forgets the token (single
// use).
HttpResponse answer_join(const HubConfig& config, const HttpRequest& request);
// The joining side: the key pair and the CA bundle.
struct Joined {
  KeyPair pair;
  std::string ca_pem;
};
Result<Joined> join_cluster(const std::string& hub_http_address, const std::string& token_text,
                            const PeerIdentity& identity);

}  // namespace tidelock
