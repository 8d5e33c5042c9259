// OpenSSF model signatures from strangers (X2). Whatever is read as signed by our key is the list that it signed; what
// its owner signs by mistake is refused or is a list whose paths stay below a folder.
#include <algorithm>

#include "codec/model_signing.h"
#include "codec/model_signing_fixture.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

struct Ours {
  SigningKey key = make_curve_key("P-256");
  SignedFiles files;
  std::string bundle;
  Ours() {
    files.name = "detector";
    files.files = {{"labels.txt", sha256("cat")}, {"model.onnx", sha256("weights")}};
    files.ignored = {"model.sig"};
    bundle = *sign_model_files(files, key.private_pem);
  }
};
const Ours& ours() {
  static const Ours made;
  return made;
}

}  // namespace

std::vector<Seed> seeds() {
  // No signature of a key that is drawn anew in each process: a corpus has to stay what it is.
  const std::string statement =
      R"({"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"00"}}],)"
      R"("predicateType":"https://model_signing/signature/v1.0","predicate":{"serialization":{"method":"files",)"
      R"("hash_type":"sha256","allow_symlinks":false,"ignore_paths":["model.sig"]},"resources":)"
      R"([{"name":"model.onnx","algorithm":"sha256","digest":"00"}]}})";
  const std::string bundle =
      R"({"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""},)"
      R"("tlogEntries":[]},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json",)"
      R"("signatures":[{"sig":"AAAA","keyid":""}]}})";
  return {{"touched", number(0, 1) + number(100, 2) + number(1, 1)},
          {"bundle", number(1, 1) + bundle},
          {"deep", number(1, 1) + Bytes(40, '[')},
          {"statement", number(2, 1) + statement},
          {"paths", number(3, 1) + piece("a/b") + piece("../c") + piece("a/b/")}};
}

void run(BytesView input) {
  Input in(input);
  switch (in.byte() % 4) {
    case 0: {  // bytes changed anywhere: refused, or what they say is the same
      std::string bundle = ours().bundle;
      while (!in.empty()) {
        const std::size_t at = static_cast<std::size_t>(in.number(2)) % bundle.size();
        bundle[at] = static_cast<char>(bundle[at] ^ in.byte());
      }
      const auto read = verify_model_signing(bundle, ours().key.public_pem);
      TIDELOCK_ASSERT(read ? *read == ours().files : !read.error().message.empty());
      break;
    }
    case 1: {
      const auto read = verify_model_signing(in.rest(), ours().key.public_pem);
      TIDELOCK_ASSERT(!read && !read.error().message.empty());
      break;
    }
    case 2: {  // the owner of the key signs anything
      const auto read = read_signed_list(in.rest());
      if (!read) return TIDELOCK_ASSERT(!read.error().message.empty());
      for (const auto& file : read->files) {
        TIDELOCK_ASSERT(file.sha256.size() == kSha256Bytes && !file.path.starts_with('/'));
        TIDELOCK_ASSERT(("/" + file.path + "/").find("/../") == std::string::npos);
      }
      break;
    }
    default: {  // what can be signed can be read
      SignedFiles files;
      files.name = "m";
      while (!in.empty()) files.files.push_back({Bytes(in.piece()), sha256("")});
      const auto bundle = sign_model_files(files, ours().key.private_pem);
      if (!bundle) return;
      const auto read = verify_model_signing(*bundle, ours().key.public_pem);
      std::sort(files.files.begin(), files.files.end(), [](const auto& x, const auto& y) { return x.path < y.path; });
      const auto twice = std::adjacent_find(files.files.begin(), files.files.end());
      TIDELOCK_ASSERT(read ? *read == files : twice != files.files.end());
    }
  }
}

}  // namespace tidelock::fuzz
