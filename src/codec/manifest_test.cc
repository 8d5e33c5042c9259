#include "codec/manifest.h"

#include <gtest/gtest.h>

#include <functional>

#include "codec/archive.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}

Manifest good_manifest() {
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = "2.0.0";
  manifest.files = {{"model.onnx", FileRole::kModel, 3, sha256("abc")},
                    {"labels.txt", FileRole::kLabels, 2, sha256("ab")},
                    {"golden/0/input.x.2.f32", FileRole::kGolden, 8, sha256("12345678")}};
  manifest.inputs = {{"x", TensorType::kF32, {2}}};
  manifest.outputs = {"y"};
  manifest.golden = {{{{{"x", TensorType::kF32, {2}}, "golden/0/input.x.2.f32", {}}},
                      {{{"y", TensorType::kF32, {1, 1}}, "", Bytes(4, '\0')}},
                      1000}};
  manifest.note = "made by a test";
  return manifest;
}
// What an attacker with the key, or a buggy publisher, could sign.
SignedManifest sign_unchecked(const Manifest& manifest) {
  SignedManifest out = *sign_manifest(good_manifest(), key().private_pem);
  out.manifest = encode(manifest);
  out.signature = *sign_bytes(key().private_pem, "tidelock manifest 1\n" + out.manifest);
  return out;
}

TEST(Manifest, TravelsSignedAndComesBackTheSame) {
  const auto signed_manifest = sign_manifest(good_manifest(), key().private_pem);
  ASSERT_TRUE(signed_manifest) << signed_manifest.error().message;
  const auto opened = open_manifest(encode(*signed_manifest), key().public_pem);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(*opened, good_manifest());
  EXPECT_EQ(manifest_files_bytes(*opened), 13u);
  EXPECT_EQ(find_role(*opened, FileRole::kLabels)->path, "labels.txt");
}

TEST(Manifest, SignedTwiceGivesTheSameBytesAndOtherContentAnotherDigest) {  // M1
  const Bytes once = encode(*sign_manifest(good_manifest(), key().private_pem));
  EXPECT_EQ(once, encode(*sign_manifest(good_manifest(), key().private_pem)));
  Manifest other = good_manifest();
  other.files[0].sha256 = sha256("abd");  // the same version, another model
  EXPECT_NE(sha256(once), sha256(encode(*sign_manifest(other, key().private_pem))));
}

TEST(Manifest, RefusesFieldsAgainstTheRulesWhenWrittenAndWhenRead) {
  struct Case {
    const char* why;
    std::function<void(Manifest&)> spoil;
    const char* message;
  };
  const auto tensor = [](std::vector<std::uint32_t> shape) {
    return TensorSpec{"x", TensorType::kF32, std::move(shape)};
  };
  const Case cases[] = {
      {"an unknown format", [](Manifest& m) { m.format = 2; }, "format is 2"},
      {"no name", [](Manifest& m) { m.name = ""; }, "model name ''"},
      {"a name with capitals", [](Manifest& m) { m.name = "Detector"; }, "a-z, 0-9"},
      {"a name that is a path", [](Manifest& m) { m.name = "a/b"; }, "model name"},
      {"a name that is the parent folder", [](Manifest& m) { m.name = ".."; }, "model name"},
      {"a long name", [](Manifest& m) { m.name.assign(65, 'a'); }, "1 to 64"},
      {"a version of two numbers", [](Manifest& m) { m.version = "2.0"; }, "2.0.0"},
      {"a version with a path in it", [](Manifest& m) { m.version = "1.0.0-../x"; }, "semantic version"},
      {"a version with a leading zero", [](Manifest& m) { m.version = "1.02.0"; }, "semantic version"},
      {"a version with an empty label", [](Manifest& m) { m.version = "1.2.0-"; }, "semantic version"},
      {"no files", [](Manifest& m) { m.files.clear(); }, "files is 0 entries"},
      {"65 files", [](Manifest& m) { m.files.resize(65, m.files[1]); }, "1 to 64"},
      {"a path out of the release", [](Manifest& m) { m.files[1].path = "../labels.txt"; }, "stay inside"},
      {"a path out of the release, later", [](Manifest& m) { m.files[1].path = "a/../../b"; }, "stay inside"},
      {"an absolute path", [](Manifest& m) { m.files[1].path = "/etc/passwd"; }, "relative path"},
      {"a path with an empty part", [](Manifest& m) { m.files[1].path = "a//b"; }, "relative path"},
      {"a path that ends in a slash", [](Manifest& m) { m.files[1].path = "a/"; }, "relative path"},
      {"a path with a zero byte", [](Manifest& m) { m.files[1].path = std::string("a\0b", 3); }, "between the slashes"},
      {"a path with a backslash", [](Manifest& m) { m.files[1].path = "a\\b"; }, "between the slashes"},
      {"a path of ours", [](Manifest& m) { m.files[1].path = "tidelock.manifest"; }, "reserved"},
      {"a path of 9 parts", [](Manifest& m) { m.files[1].path = "1/2/3/4/5/6/7/8/9"; }, "at most 8"},
      {"the same path twice", [](Manifest& m) { m.files[2].path = "labels.txt"; }, "once"},
      {"a file that is also a folder", [](Manifest& m) { m.files[1].path = "golden"; }, "both as file and as folder"},
      {"a file above 4 GiB", [](Manifest& m) { m.files[1].size_bytes = kModelFileBytesMax + 1; }, "size_bytes"},
      {"a short digest", [](Manifest& m) { m.files[1].sha256.pop_back(); }, "a SHA-256 has 32"},
      {"no model", [](Manifest& m) { m.files[0].role = FileRole::kOther; }, "0 of role model"},
      {"a model of another name", [](Manifest& m) { m.files[0].path = "net.onnx"; }, "named 'model.onnx'"},
      {"an empty model", [](Manifest& m) { m.files[0].size_bytes = 0; }, "at least one byte"},
      {"17 golden cases", [](Manifest& m) { m.golden.resize(17, m.golden[0]); }, "at most 16"},
      {"a golden case without inputs", [](Manifest& m) { m.golden[0].inputs.clear(); }, "0 tensors"},
      {"a golden file that is not there", [](Manifest& m) { m.golden[0].inputs[0].file = "golden/1"; },
       "no file of the release"},
      {"a golden file of another size", [&](Manifest& m) { m.golden[0].inputs[0].tensor = tensor({3}); }, "needs 12"},
      {"golden bytes of another size", [](Manifest& m) { m.golden[0].outputs[0].inline_values += "1"; }, "needs 4"},
      {"large golden bytes inline",
       [&](Manifest& m) { m.golden[0].outputs[0] = {tensor({20'000}), "", Bytes(80'000, '\0')}; },
       "a file of the release"},
      {"inline and in a file", [](Manifest& m) { m.golden[0].inputs[0].inline_values.assign(8, '\0'); },
       "one of the two"},
      {"a shape without elements", [&](Manifest& m) { m.golden[0].inputs[0].tensor = tensor({0, 4}); }, "no elements"},
      {"a shape that overflows", [&](Manifest& m) { m.inputs[0] = tensor({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}); },
       "too many"},
      {"a shape of 9 dimensions", [&](Manifest& m) { m.inputs[0] = tensor({1, 1, 1, 1, 1, 1, 1, 1, 1}); }, "1 to 8"},
      {"a golden file of another size for its type",
       [](Manifest& m) { m.golden[0].inputs[0].tensor.type = TensorType::kI64; }, "needs 16"},
      {"golden bytes of another size for their type",
       [](Manifest& m) { m.golden[0].outputs[0].tensor.type = TensorType::kF16; }, "needs 2"},
      {"no tolerance", [](Manifest& m) { m.golden[0].tolerance_millionths = 0; }, "tolerance_millionths is 0"},
      {"a long note", [](Manifest& m) { m.note.assign(1025, 'x'); }, "note is 1025"},
  };
  for (const Case& c : cases) {
    Manifest manifest = good_manifest();
    c.spoil(manifest);
    const auto written = sign_manifest(manifest, key().private_pem);
    ASSERT_FALSE(written) << c.why;
    EXPECT_EQ(written.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(written.error().message.find(c.message), std::string::npos) << c.why << ": " << written.error().message;
    const auto read = open_manifest(sign_unchecked(manifest), key().public_pem);
    ASSERT_FALSE(read) << c.why;
    EXPECT_EQ(read.error().message, written.error().message) << c.why;
  }
}

TEST(Manifest, AToleranceIsReadAsItIsWritten) {  // M4
  struct Case {
    std::string_view text;
    std::uint32_t millionths;  // 0: refused
  };
  const Case cases[] = {
      {"0.001", kToleranceMillionths},
      {"0.000001", 1},
      {"1e-6", 1},
      {"0.002", 2'000},
      {"0.123457", 123'457},
      {"1", kToleranceMillionthsMax},
      {"1.0", 1'000'000},
      {"0", 0},
      {"-0.001", 0},
      {"0.0000015", 0},
      {"0.0000001", 0},
      {"1.000001", 0},
      {"1e300", 0},
      {"nan", 0},
      {"inf", 0},
      {"", 0},
      {"0.001x", 0},
      {" 0.001", 0},
      {"1%", 0},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_tolerance(c.text);
    EXPECT_EQ(parsed ? *parsed : 0, c.millionths) << c.text;
    if (!parsed) {
      EXPECT_EQ(parsed.error().code, Code::kInvalid) << c.text;
      EXPECT_NE(parsed.error().message.find("give 0.000001 to 1, in steps of 0.000001"), std::string::npos) << c.text;
    }
  }
}

TEST(Manifest, AcceptsVersionsAsTheyAreWritten) {
  for (const char* version : {"0.0.0", "1.0.0", "10.20.30", "1.0.0-rc.1", "1.0.0+build.7", "1.0.0-a-b.0+x"}) {
    EXPECT_TRUE(validate_model_version(version)) << version;
  }
}

TEST(Manifest, RefusesEveryTruncationAndEveryFlippedBit) {
  const Bytes whole = encode(*sign_manifest(good_manifest(), key().private_pem));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(open_manifest(BytesView(whole).substr(0, size), key().public_pem)) << "cut to " << size;
  }
  EXPECT_FALSE(open_manifest(whole + "x", key().public_pem));
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(open_manifest(flipped, key().public_pem)) << "bit " << bit;
  }
}

TEST(Manifest, ChecksTheSignatureBeforeItParses) {  // M4
  SignedManifest broken = *sign_manifest(good_manifest(), key().private_pem);
  broken.manifest = "not a manifest";
  const auto refused = open_manifest(broken, key().public_pem);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDenied);  // not kCorrupt: nothing was parsed
  broken.signature = *sign_bytes(key().private_pem, "tidelock manifest 1\n" + broken.manifest);
  EXPECT_EQ(open_manifest(broken, key().public_pem).error().code, Code::kCorrupt);
}

TEST(Manifest, RefusesOtherKeysAndBorrowedSignatures) {
  const SigningKey other = *make_signing_key();
  const SignedManifest mine = *sign_manifest(good_manifest(), key().private_pem);

  const auto foreign = open_manifest(mine, other.public_pem);
  ASSERT_FALSE(foreign) << "the key of another namespace";
  EXPECT_EQ(foreign.error().code, Code::kDenied);
  EXPECT_NE(foreign.error().message.find(to_hex(*key_id_of(other.public_pem))), std::string::npos);

  SignedManifest relabelled = mine;  // signed by one key, claiming to be by the other
  relabelled.key_id = *key_id_of(other.public_pem);
  EXPECT_EQ(open_manifest(relabelled, other.public_pem).error().code, Code::kDenied);

  SignedManifest wrong_signature = mine;  // the digests inside are right
  Manifest changed = good_manifest();
  changed.note = "another";
  wrong_signature.signature = sign_manifest(changed, key().private_pem)->signature;
  EXPECT_EQ(open_manifest(wrong_signature, key().public_pem).error().code, Code::kDenied);

  SignedManifest without_prefix = mine;  // a signature made for something else than a manifest
  without_prefix.signature = *sign_bytes(key().private_pem, mine.manifest);
  EXPECT_EQ(open_manifest(without_prefix, key().public_pem).error().code, Code::kDenied);

  EXPECT_EQ(open_manifest(mine, "").error().code, Code::kDenied) << "no key enrolled";
  EXPECT_EQ(open_manifest(mine, "no key").error().code, Code::kInvalid);
}

TEST(Manifest, RefusesWhatIsTooLargeForTheLedger) {
  EXPECT_EQ(open_manifest(Bytes(kManifestBytesMax + 1, 'x'), key().public_pem).error().code, Code::kCorrupt);
  SignedManifest huge = *sign_manifest(good_manifest(), key().private_pem);
  huge.manifest.assign(kManifestBytesMax + 1, 'x');
  huge.signature = *sign_bytes(key().private_pem, "tidelock manifest 1\n" + huge.manifest);
  const auto unread = open_manifest(huge, key().public_pem);
  ASSERT_FALSE(unread) << "refused before its signature is computed over all of it";
  EXPECT_EQ(unread.error().code, Code::kCorrupt);
  EXPECT_EQ(unread.error().message, "manifest: 524289 bytes; at most 524288");
  Manifest manifest = good_manifest();  // 16 cases of two 60 KiB tensors: each within its limit, all together not
  const TensorSpec spec{"y", TensorType::kF32, {15'000}};
  manifest.golden[0].outputs = {{spec, "", Bytes(60'000, '\0')}};
  manifest.golden.resize(16, manifest.golden[0]);
  const auto refused = sign_manifest(manifest, key().private_pem);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("files of the release"), std::string::npos);
}

}  // namespace
}  // namespace tidelock
