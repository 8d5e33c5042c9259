#include "codec/trust.h"

#include <gtest/gtest.h>

#include <functional>

#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/trust_fixture.h"

namespace tidelock {
namespace {

template <class File>
using Spoil = std::function<void(File&)>;

template <class File>
struct Case {
  const char* why;
  Spoil<File> spoil;
  const char* message;
};

// Refused alike when it is written and when it is read: a key holder's mistakes are a stranger's attacks.
template <class File, class Read>
void refuses(const File& good, const std::vector<Case<File>>& cases, Read read) {
  const SignedTrust whole = *make_trust(good);
  for (const Case<File>& c : cases) {
    File file = good;
    c.spoil(file);
    const auto written = make_trust(file);
    ASSERT_FALSE(written) << c.why;
    EXPECT_EQ(written.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(written.error().message.find(c.message), std::string::npos) << c.why << ": " << written.error().message;
    const auto seen = read(SignedTrust{whole.role, encode(file), {}});
    ASSERT_FALSE(seen) << c.why;
    EXPECT_EQ(seen.error().message, written.error().message) << c.why;
  }
}

TEST(TrustFiles, TravelSignedAndComeBackTheSame) {
  Publisher p;
  const TrustSet set = p.set();
  EXPECT_EQ(*read_root(*parse_trust(p.signed_root())), p.root);
  EXPECT_EQ(*read_timestamp(*parse_trust(set.timestamp, TrustRole::kTimestamp)), p.timestamp);
  EXPECT_EQ(*read_snapshot(*parse_trust(set.snapshot, TrustRole::kSnapshot)), p.snapshot);
  EXPECT_EQ(*read_targets(*parse_trust(set.targets[0], TrustRole::kTargets)), p.camera);
  EXPECT_EQ(p.set().timestamp, set.timestamp) << "signing again gives the same bytes";
}

TEST(TrustFiles, RefuseARootAgainstTheRules) {
  Publisher p;
  using F = TrustRootFile;
  refuses<F>(
      p.root,
      {{"an unknown format", [](F& f) { f.head.format = 2; }, "format is 2"},
       {"a domain that is a path", [](F& f) { f.head.domain = "../city"; }, "domain is '../city'"},
       {"version 0", [](F& f) { f.head.version = 0; }, "the first is 1"},
       {"expired before it was made", [](F& f) { f.head.expires_ms = f.head.made_ms; }, "later than made_ms"},
       {"a time beyond the calendar", [](F& f) { f.head.expires_ms = ~0ull; }, "at most 253402300799000"},
       {"a role without keys", [](F& f) { f.timestamp.keys.clear(); }, "timestamp.keys is 0 keys"},
       {"17 keys", [](F& f) { f.root.keys.resize(17, f.root.keys[0]); }, "1 to 16"},
       {"a key of 31 bytes", [](F& f) { f.root.keys[0].pop_back(); }, "one of 31 bytes"},
       {"one key twice, for a threshold of two", [](F& f) { f.root.keys[1] = f.root.keys[0]; }, "counts once"},
       {"a threshold of none", [](F& f) { f.root.threshold = 0; }, "threshold is 0; with 3 keys it is 1 to 3"},
       {"a threshold nobody can reach", [](F& f) { f.root.threshold = 4; }, "threshold is 4"},
       {"rotated in a root to come", [](F& f) { f.snapshot.since_root = 2; }, "since_root is 2"},
       {"65 namespaces", [](F& f) { f.namespaces.resize(65, f.namespaces[0]); }, "65 entries; at most 64"},
       {"a pattern with two stars", [](F& f) { f.namespaces[1].pattern = "l*r*"; }, "pattern 'l*r*'"},
       {"one namespace twice", [](F& f) { f.namespaces[1] = f.namespaces[0]; }, "ascending order"},
       {"a namespace whose keys are wrong", [](F& f) { f.namespaces[0].signers.threshold = 9; }, "namespace camera"},
       {"a long note", [](F& f) { f.note.assign(1025, 'x'); }, "note is 1025 bytes"}},
      read_root);
}

TEST(TrustFiles, RefuseTargetsSnapshotAndTimestampAgainstTheRules) {
  Publisher p;
  (void)p.set();
  using T = TrustTargetsFile;
  refuses<T>(
      p.camera,
      {{"no domain", [](T& f) { f.head.domain.clear(); }, "domain is ''"},
       {"of no root", [](T& f) { f.since_root = 0; }, "since_root is 0"},
       {"a pattern that is a path", [](T& f) { f.pattern = "a/b"; }, "pattern 'a/b'"},
       {"a release of another's", [](T& f) { f.releases[0].name = "lidar"; }, "speaks of 'camera' only"},
       {"a release name that is a path", [](T& f) { f.releases[0].name = "../x"; }, "model name '../x'"},
       {"a version that is a path", [](T& f) { f.releases[0].version = "1/0"; }, "model version '1/0'"},
       {"one version with two contents", [](T& f) { f.releases.push_back(f.releases[0]); }, "one content"},
       {"a manifest of no bytes", [](T& f) { f.releases[0].manifest_bytes = 0; }, "is 0; 1 to"},
       {"an endless manifest", [](T& f) { f.releases[0].manifest_bytes = kManifestBytesMax + 1; }, "1 to 524288"},
       {"a short digest", [](T& f) { f.releases[0].manifest_sha256.pop_back(); }, "31 bytes; a SHA-256 has 32"},
       {"1025 releases", [](T& f) { f.releases.resize(1025, f.releases[0]); }, "at most 1024"}},
      read_targets);
  using S = TrustSnapshotFile;
  refuses<S>(p.snapshot,
             {{"version 0", [](S& f) { f.head.version = 0; }, "version is 0"},
              {"of no root", [](S& f) { f.since_root = 0; }, "since_root is 0"},
              {"65 entries", [](S& f) { f.targets.resize(65, f.targets[0]); }, "at most 64"},
              {"one twice", [](S& f) { f.targets[1] = f.targets[0]; }, "ascending order"},
              {"a bad pattern", [](S& f) { f.targets[0].pattern = ""; }, "pattern ''"},
              {"targets of version 0", [](S& f) { f.targets[0].targets.version = 0; }, "targets of camera.version"},
              {"endless targets", [](S& f) { f.targets[0].targets.bytes = 1u << 30; }, "1 to 262144"},
              {"a short digest", [](S& f) { f.targets[0].targets.sha256.clear(); }, "0 bytes; a SHA-256"}},
             read_snapshot);
  using M = TrustTimestampFile;
  refuses<M>(p.timestamp,
             {{"an unknown format", [](M& f) { f.head.format = 0; }, "format is 0"},
              {"of no root", [](M& f) { f.since_root = 0; }, "since_root is 0"},
              {"one that lives for a year", [](M& f) { f.head.expires_ms += 365 * kTrustDayMs; }, "at most 31 days"},
              {"an empty snapshot", [](M& f) { f.snapshot.bytes = 0; }, "snapshot.bytes is 0"}},
             read_timestamp);
}

TEST(TrustFiles, AMillionDelegationsAreRefusedUnread) {  // X2
  const Bytes huge(90'000'000, 'd');
  const auto refused = parse_trust(huge);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_EQ(refused.error().message, "trust file: 90000000 bytes; at most 262144");
}

TEST(TrustFiles, RefuseSignaturesThatAreNone) {
  Publisher p;
  const SignedTrust good = *parse_trust(p.signed_root());
  struct Bad {
    const char* why;
    std::function<void(SignedTrust&)> spoil;
    const char* message;
  };
  const Bad cases[] = {
      {"one key signs twice", [](SignedTrust& f) { f.signatures[1] = f.signatures[0]; }, "counts once"},
      {"not in order", [](SignedTrust& f) { std::swap(f.signatures[0], f.signatures[1]); }, "ascending order"},
      {"a short key id", [](SignedTrust& f) { f.signatures[0].key_id.pop_back(); }, "another size"},
      {"a long signature", [](SignedTrust& f) { f.signatures[0].signature.push_back('x'); }, "another size"},
      {"33 signatures", [](SignedTrust& f) { f.signatures.resize(33, f.signatures[0]); }, "signatures is 33"}};
  for (const Bad& c : cases) {
    SignedTrust bad = good;
    c.spoil(bad);
    const auto refused = parse_trust(encode(bad));
    ASSERT_FALSE(refused) << c.why;
    EXPECT_NE(refused.error().message.find(c.message), std::string::npos) << c.why << ": " << refused.error().message;
  }
  EXPECT_EQ(parse_trust(p.signed_root(), TrustRole::kTimestamp).error().message,
            "timestamp: the file is a root file; give one of role timestamp");
  EXPECT_EQ(read_snapshot(good).error().message, "snapshot: the file is a root; give a snapshot");
  EXPECT_EQ(trust_file_ref(good).error().code, Code::kInvalid) << "nothing names a root";
}

TEST(TrustFiles, ASignatureCountsForItsKeyRoleAndBytesOnly) {
  Publisher p;
  SignedTrust file = *make_trust(p.root);
  const TrustKeys& keys = p.root.root;
  EXPECT_EQ(count_trust_signatures(file, keys), 0u);
  ASSERT_TRUE(add_trust_signature(file, p.root_keys[0].private_pem));
  ASSERT_TRUE(add_trust_signature(file, p.root_keys[0].private_pem)) << "again: in place of the first";
  EXPECT_EQ(count_trust_signatures(file, keys), 1u);
  const auto few = check_trust_threshold(file, keys);
  ASSERT_FALSE(few);
  EXPECT_EQ(few.error().code, Code::kDenied);
  EXPECT_TRUE(few.error().message.starts_with("root: signed by 1 of 2 that are needed; the keys that count are "));
  ASSERT_TRUE(add_trust_signature(file, p.camera_key.private_pem)) << "a stranger's counts for nothing";
  EXPECT_EQ(count_trust_signatures(file, keys), 1u);
  ASSERT_TRUE(add_trust_signature(file, p.root_keys[2].private_pem));
  EXPECT_TRUE(check_trust_threshold(file, keys));
  const auto stranger = check_trust_signatures(file, {&keys});
  ASSERT_FALSE(stranger);
  EXPECT_NE(stranger.error().message.find("which the root does not give this role"), std::string::npos);
  SignedTrust as_targets = file;
  as_targets.role = TrustRole::kTargets;
  EXPECT_EQ(count_trust_signatures(as_targets, keys), 0u) << "the role is part of what is signed";
  EXPECT_FALSE(add_trust_signature(file, "no key"));
  while (file.signatures.size() < kTrustSignaturesMax) {
    ASSERT_TRUE(add_trust_signature(file, Publisher::fresh_key().private_pem));
  }
  EXPECT_EQ(add_trust_signature(file, Publisher::fresh_key().private_pem).error().code, Code::kInvalid);
}

TEST(TrustFiles, TheLongestPatternOwnsAModel) {
  Publisher p;
  p.root.namespaces = {{"*", {}}, {"camera", {}}, {"camera*", {}}, {"camera-n*", {}}};
  struct Owner {
    const char *model, *pattern;
  };
  for (const Owner& c : {Owner{"camera", "camera"}, Owner{"camera-s", "camera*"}, Owner{"camera-north", "camera-n*"},
                         Owner{"lidar", "*"}}) {
    const TrustNamespace* one = trust_namespace_of(p.root, c.model);
    ASSERT_NE(one, nullptr) << c.model;
    EXPECT_EQ(one->pattern, c.pattern) << c.model;
  }
  p.root.namespaces.erase(p.root.namespaces.begin());
  EXPECT_EQ(trust_namespace_of(p.root, "lidar"), nullptr);
}

TEST(TrustFiles, AFullTargetsFileFits) {
  Publisher p;
  p.camera.pattern = "*";
  p.camera.releases.clear();
  const std::string name(64, 'm'), tail(55, 'v');
  for (int i = 1000; i < 2000; ++i) {
    p.camera.releases.push_back(Publisher::release(name, "1." + std::to_string(i) + ".0-" + tail, "manifest"));
  }
  EXPECT_TRUE(make_trust(p.camera));
  const auto longest = [](const std::string& n) { return Publisher::release(n, "1.0.0-" + std::string(58, 'x'), "m"); };
  TrustRootFile root = p.root;
  root.namespaces.clear();
  for (int i = 10; i < 74; ++i) root.namespaces.push_back({std::string(61, 'a') + std::to_string(i), p.root.root});
  EXPECT_TRUE(make_trust(root)) << "64 namespaces of 3 keys";
  for (TrustNamespace& one : root.namespaces) {
    one.signers.keys.clear();
    for (int k = 0; k < 16; ++k) one.signers.keys.push_back(Bytes(31, 'k') + static_cast<char>('a' + k));
  }
  EXPECT_TRUE(make_trust(root)) << "64 namespaces of 16 keys";
  EXPECT_EQ(longest("m").version.size(), kModelVersionBytesMax);
}

TEST(TrustFiles, WallTimesAreSaidInWords) {
  EXPECT_EQ(wall_words(0), "1970-01-01 00:00 UTC");
  EXPECT_EQ(wall_words(1'796'089'259'999), "2026-12-01 01:40 UTC");
  EXPECT_EQ(wall_words(kTrustWallMsMax), "9999-12-31 23:59 UTC");
  EXPECT_EQ(wall_words(~0ull), "9999-12-31 23:59 UTC");
}

}  // namespace
}  // namespace tidelock
