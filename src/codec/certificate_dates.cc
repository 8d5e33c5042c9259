#include "codec/certificate_dates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <ctime>
#include <memory>

namespace tidelock {
namespace {

constexpr std::size_t kPemBytesMax = 64u << 10;
constexpr int kAuthoritiesMax = 16;

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using X509Ptr = std::unique_ptr<X509, Freer<X509_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;

int no_pass_phrase(char*, int, int, void*) { return 0; }

Result<BioPtr> open_pem(std::string_view pem) {
  if (pem.size() > kPemBytesMax) {
    return fail(Code::kInvalid, "certificate has " + std::to_string(pem.size()) + " bytes; at most " +
                                    std::to_string(kPemBytesMax) + " are taken");
  }
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!bio) return fail(Code::kUnavailable, "no memory for a certificate");
  return bio;
}
X509Ptr next_certificate(BIO* bio) {
  X509Ptr certificate(PEM_read_bio_X509(bio, nullptr, no_pass_phrase, nullptr));
  ERR_clear_error();
  return certificate;
}
Result<X509Ptr> first_certificate(std::string_view pem) {
  auto bio = open_pem(pem);
  if (!bio) return fail(bio.error());
  auto certificate = next_certificate(bio->get());
  if (!certificate) return fail(Code::kCorrupt, "not a PEM certificate");
  return certificate;
}

Result<std::int64_t> unix_seconds(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    ERR_clear_error();
    return fail(Code::kCorrupt, "the certificate bears a date that is none");
  }
  return static_cast<std::int64_t>(::timegm(&parts));
}

}  // namespace

Result<Validity> validity_of_certificate(std::string_view certificate_pem) {
  const auto certificate = first_certificate(certificate_pem);
  if (!certificate) return fail(certificate.error());
  const auto before = unix_seconds(X509_get0_notBefore(certificate->get()));
  if (!before) return fail(before.error());
  const auto after = unix_seconds(X509_get0_notAfter(certificate->get()));
  if (!after) return fail(after.error());
  return Validity{*before, *after};
}

Result<void> check_signed_by(std::string_view certificate_pem, std::string_view ca_pem) {
  const auto certificate = first_certificate(certificate_pem);
  if (!certificate) return fail(certificate.error());
  auto bundle = open_pem(ca_pem);
  if (!bundle) return fail(bundle.error());
  const StorePtr store(X509_STORE_new());
  const StoreContextPtr context(X509_STORE_CTX_new());
  if (!store || !context) return fail(Code::kUnavailable, "no memory to check a certificate");
  int authorities = 0;
  for (auto ca = next_certificate(bundle->get()); ca && authorities < kAuthoritiesMax;
       ca = next_certificate(bundle->get())) {
    if (X509_STORE_add_cert(store.get(), ca.get()) == 1) ++authorities;
  }
  if (authorities == 0) return fail(Code::kCorrupt, "no PEM certificate in the CA file");
  X509_STORE_set_flags(store.get(), X509_V_FLAG_NO_CHECK_TIME);
  if (X509_STORE_CTX_init(context.get(), store.get(), certificate->get(), nullptr) != 1 ||
      X509_verify_cert(context.get()) != 1) {
    const int why = X509_STORE_CTX_get_error(context.get());
    ERR_clear_error();
    return fail(Code::kDenied, X509_verify_cert_error_string(why));
  }
  return {};
}

}  // namespace tidelock
