// `tidelock key`, as people type it: from nothing to a catalogue, a rotation, and what is refused on the way, with the
// words that say what would be right.

#include "cli/key.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/wall_clock.h"
#include "cli/config.h"
#include "cli/dev.h"
#include "cli/run_fixture.h"
#include "cli/trust_words.h"
#include "codec/archive.h"
#include "codec/trust_fixture.h"
#include "hub/hub.h"
#include "store/models/release.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

class KeyTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"ann", "bob", "eve", "ci", "timer", "vision", "publisher", "kim"}) {
      ASSERT_TRUE(make_key_files(at(name))) << name;
    }
    fs::create_directory(at("camera-1.0.0"));
    write("camera-1.0.0/model.onnx", "a model");
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  std::string pub(const std::string& name) const { return at(name + ".pub.pem"); }
  std::string pem(const std::string& name) const { return at(name + ".pem"); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(at(name), std::ios::binary) << bytes;
    return at(name);
  }
  static Ran key(std::vector<std::string> words) {
    words.insert(words.begin(), "key");
    return run(words);
  }
  // As JSON; done or it is the test's end.
  static Json good(std::vector<std::string> words) {
    words.insert(words.begin(), {"--json", "key"});
    const Ran ran = run(words);
    EXPECT_EQ(ran.code, 0) << words[2] << ": " << ran.out << ran.err;
    return ran.json();
  }
  static void refused(const std::vector<std::string>& words, const std::string& code, const std::string& part,
                      const std::string& why) {
    std::vector<std::string> all{"--json", "key"};
    all.insert(all.end(), words.begin(), words.end());
    const Ran ran = run(all);
    EXPECT_EQ(ran.code, 1) << why << ": " << ran.out << ran.err;
    const Json said = ran.json();
    ASSERT_TRUE(said.is_object()) << why << ": " << ran.out;
    EXPECT_EQ(said.value("code", ""), code) << why << ": " << said;
    EXPECT_NE(said.value("message", "").find(part), std::string::npos) << why << ": " << said;
  }

  void make_root() const {
    good({"root",       "init",     "--domain",    "city",       "--threshold", "2",
          "--key",      pub("ann"), "--key",       pub("bob"),   "--key",       pub("eve"),
          "--snapshot", pub("ci"),  "--timestamp", pub("timer"), "--namespace", "camera*=" + pub("vision"),
          "--out",      root1_});
    good({"root", "sign", root1_, "--key", pem("ann"), "--key", pem("eve")});
  }
  Json make_targets() const {
    return good({"targets", "--root", root1_, "--namespace", "camera*", "--release",
                 "camera:1.0.0=" + at("camera-1.0.0"), "--publisher", pem("publisher"), "--key", pem("vision"), "--out",
                 camera_});
  }
  void make_catalogue() const {
    make_root();
    make_targets();
    make_catalogue_rest();
  }
  void make_catalogue_rest() const {
    good({"snapshot", "--root", root1_, "--targets", camera_, "--key", pem("ci"), "--out", snapshot_});
    good({"timestamp", "--root", root1_, "--snapshot", snapshot_, "--key", pem("timer"), "--out", timestamp_});
  }
  std::vector<std::string> verify(std::vector<std::string> roots) const {
    std::vector<std::string> words{"verify"};
    for (const std::string& root : roots) words.insert(words.end(), {"--root", root});
    words.insert(words.end(), {"--timestamp", timestamp_, "--snapshot", snapshot_, "--targets", camera_});
    return words;
  }

  const TestFolder folder_;
  const std::string root1_ = at("root-1.trust"), root2_ = at("root-2.trust"), camera_ = at("camera.trust"),
                    snapshot_ = at("snapshot.trust"), timestamp_ = at("timestamp.trust");
};

TEST_F(KeyTest, ANewKeyIsForItsOwnerAloneAndOverwritesNothing) {  // X8
  const Json made = good({"new", "--out", at("zoe")});
  struct stat info{};
  ASSERT_EQ(::stat(pem("zoe").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(made["key_id"].get<std::string>(), to_hex(*key_id_of(*read_file(pub("zoe")))));
  EXPECT_EQ(*public_key_of(*read_file(pem("zoe"))), *read_file(pub("zoe")));
  const std::string before = *read_file(pem("zoe"));
  refused({"new", "--out", at("zoe")}, "conflict", "a key overwrites nothing", "the name is taken");
  EXPECT_EQ(*read_file(pem("zoe")), before);
  write("half.pub.pem", "something");
  refused({"new", "--out", at("half")}, "conflict", "half.pub.pem exists", "only the public name is taken");
  EXPECT_FALSE(fs::exists(pem("half"))) << "no half of a pair is left";
  refused({"new", "--out", at("no/folder")}, "invalid", "No such file or directory", "there is no such folder");
  const Ran said = key({"new", "--out", at("yan")});
  EXPECT_EQ(said.out.find("PRIVATE"), std::string::npos) << "the secret is not printed";
}

TEST_F(KeyTest, FromNothingToACatalogueThatAGatewayTakes) {
  make_root();
  const Json targets = make_targets();
  const auto release = build_release(at("camera-1.0.0"), "camera", "1.0.0", *read_file(pem("publisher")));
  EXPECT_EQ(targets["releases"][0]["manifest_sha256"].get<std::string>(),
            to_hex(sha256(encode(release->signed_manifest))))
      << "of the very manifest that `model publish` makes";
  fs::create_directories(at("camera-1.0.0/golden/a"));
  write("camera-1.0.0/golden/a/input.x.1.f32", "abcd");
  write("camera-1.0.0/golden/a/output.y.1.f32", "abcd");
  const auto wide = build_release(at("camera-1.0.0"), "camera", "1.1.0", *read_file(pem("publisher")), {}, 20'000);
  ASSERT_TRUE(wide) << wide.error().message;
  const Json with =
      good({"targets", "--root", root1_, "--namespace", "camera*", "--release", "camera:1.1.0=" + at("camera-1.0.0"),
            "--tolerance", "0.02", "--publisher", pem("publisher"), "--key", pem("vision"), "--out", at("wide.trust")});
  EXPECT_EQ(with["releases"][0]["manifest_sha256"].get<std::string>(), to_hex(sha256(encode(wide->signed_manifest))))
      << "with its tolerance, too";
  make_catalogue_rest();
  const Json holds = good(verify({root1_}));
  EXPECT_EQ(holds["standing"], "fresh");
  EXPECT_EQ(holds["root"], 1);
  EXPECT_EQ(holds["releases"], Json::parse(R"([{"name":"camera","version":"1.0.0","namespace":"camera*"}])"));
  const Ran words = key(verify({root1_}));
  EXPECT_NE(words.out.find("it allows\n  camera 1.0.0\n"), std::string::npos) << words.out;
}

TEST_F(KeyTest, FilesMadeAgainFollowTheOneThatLiesThere) {
  make_catalogue();
  good({"timestamp", "--root", root1_, "--snapshot", snapshot_, "--key", pem("timer"), "--out", timestamp_});
  EXPECT_EQ(good({"show", timestamp_})["version"], 2);
  const Json kept = make_targets();
  EXPECT_EQ(kept["version"], 2);
  EXPECT_EQ(kept["releases"].size(), 1u) << "the same release again is no second one";
  write("camera-1.0.0/model.onnx", "another model");
  refused({"targets", "--root", root1_, "--namespace", "camera*", "--release", "camera:1.0.0=" + at("camera-1.0.0"),
           "--publisher", pem("publisher"), "--key", pem("vision"), "--out", camera_},
          "conflict", "a version never changes", "one version, two contents");  // M1
  const Json none = good({"targets", "--root", root1_, "--namespace", "camera*", "--withdraw", "camera:1.0.0", "--key",
                          pem("vision"), "--out", camera_});
  EXPECT_EQ(none["version"], 3);
  EXPECT_TRUE(none["releases"].empty());
  refused(verify({root1_}), "denied", "(mix-and-match)", "the snapshot still names the former file");
}

TEST_F(KeyTest, ARotationEndsWhatTheFormerKeySigned) {  // X2
  make_catalogue();
  good({"rotate", "timestamp", "--root", root1_, "--key", pub("kim"), "--note", "timer was stolen", "--out", root2_});
  EXPECT_EQ(good({"show", root2_})["keys"]["timestamp"]["since_root"], 2);
  refused({"verify", "--root", root1_, "--root", root2_}, "denied", "signed by 0 of 2", "nobody signed it");
  const Ran own = key({"root", "sign", root2_, "--key", pem("ann"), "--key", pem("bob")});
  EXPECT_NE(own.out.find("signed by 2 of 2 of its own keys\nnext: keys of root 1 sign too, with --previous"),
            std::string::npos)
      << own.out;
  const Ran both = key({"root", "sign", root2_, "--previous", root1_, "--key", pem("ann")});
  EXPECT_NE(both.out.find("2 of 2 of its own keys and 2 of 2 of root 1's"), std::string::npos) << both.out;
  refused(verify({root1_, root2_}), "denied", "which the root does not give this role", "the former key's timestamp");
  good({"timestamp", "--root", root2_, "--snapshot", snapshot_, "--key", pem("kim"), "--out", timestamp_});
  EXPECT_EQ(good({"show", timestamp_})["version"], 1) << "versions begin anew";
  EXPECT_EQ(good(verify({root1_, root2_}))["root"], 2);
  refused(verify({root1_}), "denied", "which the root does not give this role", "who has not heard of the rotation");
  refused(verify({root2_, root1_}), "denied", "(rollback)", "the roots the wrong way round");
}

TEST_F(KeyTest, RootAndNamespaceKeysRotateTooAndARootIsRenewed) {
  make_catalogue();
  good({"rotate", "root", "--root", root1_, "--threshold", "2", "--key", pub("ann"), "--key", pub("kim"), "--out",
        root2_});
  const Ran stranger = key({"root", "sign", root2_, "--key", pem("bob")});
  EXPECT_EQ(stranger.code, 1);
  EXPECT_NE(stranger.err.find("give that root with --previous"), std::string::npos) << stranger.err;
  good({"root", "sign", root2_, "--previous", root1_, "--key", pem("ann"), "--key", pem("bob"), "--key", pem("kim")});
  EXPECT_EQ(good(verify({root1_, root2_}))["standing"], "fresh") << "the catalogue's keys are what they were";

  const std::string root3 = at("root-3.trust");
  good({"rotate", "targets", "--namespace", "lidar", "--root", root2_, "--key", pub("eve"), "--out", root3});
  EXPECT_EQ(good({"show", root3})["namespaces"].size(), 2u);
  fs::remove(root3);
  good({"rotate", "targets", "--namespace", "camera*", "--remove", "--root", root2_, "--out", root3});
  EXPECT_TRUE(good({"show", root3})["namespaces"].empty());
  fs::remove(root3);
  good({"rotate", "targets", "--namespace", "camera*", "--threshold", "2", "--key", pub("eve"), "--key", pub("vision"),
        "--root", root2_, "--out", root3});
  good({"root", "sign", root3, "--key", pem("ann"), "--key", pem("kim")});
  const Json one = good({"targets", "--root", root3, "--namespace", "camera*", "--key", pem("eve"), "--out", camera_});
  EXPECT_EQ(one["version"], 1);
  EXPECT_EQ(one["releases"].size(), 1u) << "what was allowed stays so, under the new keys";
  refused({"snapshot", "--root", root3, "--targets", camera_, "--key", pem("ci"), "--out", snapshot_}, "denied",
          "signed by 1 of 2", "one signature is missing");
  good({"sign", camera_, "--root", root3, "--key", pem("vision")});
  good({"snapshot", "--root", root3, "--targets", camera_, "--key", pem("ci"), "--out", snapshot_});

  const std::string root4 = at("root-4.trust");
  const Json renewed = good({"root", "renew", "--root", root3, "--days", "30", "--out", root4});
  EXPECT_EQ(renewed["version"], 4);
  EXPECT_EQ(renewed["keys"]["root"]["since_root"], 2) << "no key changed";
}

TEST_F(KeyTest, WhatIsRefusedIsNamedWithWhatWouldBeRight) {
  make_catalogue();
  const std::string text = write("text", "hello"), fresh = at("fresh.trust");
  const std::vector<std::string> init{"root", "init", "--domain", "city", "--out", fresh};
  const auto with = [](std::vector<std::string> words, std::vector<std::string> more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::vector<std::string> roles{"--snapshot", pub("ci"), "--timestamp", pub("timer")};
  struct Case {
    const char* why;
    std::vector<std::string> words;
    const char* code;
    std::string part;
  };
  const Case cases[] = {
      {"a threshold nobody reaches", with(with(init, roles), {"--key", pub("ann"), "--threshold", "2"}), "invalid",
       "root.threshold is 2; with 1 keys it is 1 to 1"},
      {"one key twice", with(with(init, roles), {"--key", pub("ann"), "--key", pub("ann")}), "invalid",
       "this key is given twice"},
      {"a private key in a list", with(with(init, roles), {"--key", pem("ann")}), "invalid",
       "a private key; give its public half"},
      {"no key at all", with(with(init, roles), {"--key", text}), "invalid", "`tidelock key new` makes one"},
      {"a file that is not there", with(with(init, roles), {"--key", at("nobody")}), "invalid", "No such file"},
      {"a namespace without a key", with(with(init, roles), {"--key", pub("ann"), "--namespace", "camera"}), "invalid",
       "must be PATTERN=PUBLIC-KEY-FILE"},
      {"a pattern with a path", with(with(init, roles), {"--key", pub("ann"), "--namespace", "a/b=" + pub("ci")}),
       "invalid", "pattern 'a/b'"},
      {"a domain with a space",
       {"root", "init", "--domain", "my city", "--key", pub("ann"), "--snapshot", pub("ci"), "--timestamp", pub("ci"),
        "--out", fresh},
       "invalid",
       "domain is 'my city'"},
      {"over a root", {"root", "renew", "--root", root1_, "--out", root1_}, "conflict", "a root overwrites nothing"},
      {"signed with a public key",
       {"root", "sign", root1_, "--key", pub("ann")},
       "invalid",
       "a public key; to sign give its private half"},
      {"signed with no key", {"root", "sign", root1_, "--key", text}, "invalid", "`tidelock key new` makes one"},
      {"signed by a stranger", {"root", "sign", root1_, "--key", pem("kim")}, "denied", "may not sign this root file"},
      {"a root that is none",
       {"root", "sign", camera_, "--key", pem("ann")},
       "invalid",
       "camera.trust: a targets file; give a root file here"},
      {"a previous root that is not",
       {"root", "sign", root1_, "--previous", root1_, "--key", pem("ann")},
       "invalid",
       "root 1 follows root 0"},
      {"rotated to nobody", {"rotate", "snapshot", "--root", root1_, "--out", fresh}, "invalid", "give all keys"},
      {"a role removed",
       {"rotate", "snapshot", "--remove", "--root", root1_, "--out", fresh},
       "invalid",
       "only a namespace can go"},
      {"no namespace said",
       {"rotate", "targets", "--key", pub("kim"), "--root", root1_, "--out", fresh},
       "invalid",
       "give --namespace PATTERN"},
      {"a namespace that is not there",
       {"rotate", "targets", "--namespace", "x", "--remove", "--root", root1_, "--out", fresh},
       "not_found",
       "root 1 has none of this pattern"},
      {"removed and given keys",
       {"rotate", "targets", "--namespace", "x", "--remove", "--key", pub("kim"), "--root", root1_, "--out", fresh},
       "invalid",
       "exclude each other"},
      {"a namespace of another role",
       {"rotate", "root", "--namespace", "x", "--key", pub("kim"), "--root", root1_, "--out", fresh},
       "invalid",
       "belongs to `rotate targets`"},
      {"targets of nobody's namespace",
       {"targets", "--root", root1_, "--namespace", "radar", "--key", pem("vision"), "--out", fresh},
       "not_found",
       "the root gives nobody this pattern"},
      {"targets by another's key",
       {"targets", "--root", root1_, "--namespace", "camera*", "--key", pem("ci"), "--out", fresh},
       "denied",
       "may not sign this targets file; it takes 1 of 1 key"},
      {"a release said wrongly",
       {"targets", "--root", root1_, "--namespace", "camera*", "--release", "camera=x", "--publisher", pem("publisher"),
        "--key", pem("vision"), "--out", fresh},
       "invalid",
       "must be NAME:VERSION=FOLDER"},
      {"a release without its publisher",
       {"targets", "--root", root1_, "--namespace", "camera*", "--release", "camera:1.0.0=" + at("camera-1.0.0"),
        "--key", pem("vision"), "--out", fresh},
       "invalid",
       "--release needs --publisher"},
      {"a release of another's model",
       {"targets", "--root", root1_, "--namespace", "camera*", "--release", "lidar:1.0.0=" + at("camera-1.0.0"),
        "--publisher", pem("publisher"), "--key", pem("vision"), "--out", fresh},
       "denied",
       "'lidar' does not belong to namespace 'camera*'"},
      {"a release that is no folder",
       {"targets", "--root", root1_, "--namespace", "camera*", "--release", "camera:1.0.0=" + at("nowhere"),
        "--publisher", pem("publisher"), "--key", pem("vision"), "--out", fresh},
       "not_found",
       "nowhere"},
      {"withdrawn twice",
       {"targets", "--root", root1_, "--namespace", "camera*", "--withdraw", "camera:9.9.9", "--key", pem("vision"),
        "--out", camera_},
       "not_found",
       "has no such release"},
      {"over a file of another role",
       {"targets", "--root", root1_, "--namespace", "camera*", "--key", pem("vision"), "--out", snapshot_},
       "invalid",
       "snapshot.trust: a snapshot file; give a targets file here"},
      {"a snapshot of no targets file",
       {"snapshot", "--root", root1_, "--targets", snapshot_, "--key", pem("ci"), "--out", fresh},
       "invalid",
       "give a targets file here"},
      {"a timestamp of no snapshot",
       {"timestamp", "--root", root1_, "--snapshot", camera_, "--key", pem("timer"), "--out", fresh},
       "invalid",
       "give a snapshot file here"},
      {"a root signed the wrong way",
       {"sign", root1_, "--root", root1_, "--key", pem("ann")},
       "invalid",
       "root 1 has no keys for it"},
      {"half a catalogue",
       {"verify", "--root", root1_, "--timestamp", timestamp_},
       "invalid",
       "a catalogue is --timestamp"},
      {"a catalogue in the wrong places",
       {"verify", "--root", root1_, "--timestamp", snapshot_, "--snapshot", timestamp_, "--targets", camera_},
       "denied",
       "timestamp: the file is a snapshot file"},
      {"no trust file", {"show", text}, "corrupt", "a trust file is made by"},
      {"nothing to show", {"show", at("nobody")}, "invalid", "No such file"},
      {"a torn key",
       {"show", write("torn.pem", read_file(pub("ann"))->substr(0, 60))},
       "invalid",
       "torn.pem: public key"},
  };
  for (const Case& c : cases) refused(c.words, c.code, c.part, c.why);
  EXPECT_FALSE(fs::exists(fresh)) << "a refusal leaves nothing behind";
  EXPECT_EQ(good(verify({root1_}))["standing"], "fresh") << "and nothing changed";
}

TEST_F(KeyTest, TheClusterTakesWhatFollowsAndNothingElse) {  // X2
  const std::string cluster = at("cluster"), client = cluster + "/client.toml";
  ASSERT_TRUE(make_dev_cluster({cluster, 1, 0, 1}));
  make_catalogue();
  const std::vector<std::string> all{"--timestamp", timestamp_, "--snapshot", snapshot_, "--targets", camera_};
  const auto push = [&](std::vector<std::string> words, const std::vector<std::string>& more = {}) {
    words.insert(words.begin(), {"--config", client, "push"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  refused(push({"--timestamp", timestamp_}), "invalid", "a catalogue is --timestamp, --snapshot", "half of one");
  refused(push({"--root", camera_}), "invalid", "give a root file here", "no root");
  const auto settings = read_hub_config(cluster + "/hub-1/hub.toml");
  ASSERT_TRUE(settings);
  const auto hub = Hub::start(settings->hub);
  ASSERT_TRUE(hub) << hub.error().message;
  refused(push({}), "invalid", "it is empty", "nothing");
  refused(push({}, all), "invalid", "there is no trusted root", "nobody vouched for a root yet");
  EXPECT_GT(good(push({"--root", root1_}, all))["index"].get<int>(), 0);
  const std::string older = write("older.trust", *read_file(timestamp_));
  good({"timestamp", "--root", root1_, "--snapshot", snapshot_, "--key", pem("timer"), "--out", timestamp_});
  good(push({}, all));
  refused(push({"--timestamp", older, "--snapshot", snapshot_, "--targets", camera_}), "denied", "(rollback)",
          "the timestamp before");
  const Ran list = run({"--json", "--config", client, "model", "list"});
  EXPECT_TRUE(list.json()["models"].empty()) << "trust files are no model: " << list.out;
  const Ran direct = run({"--json", "--config", client, "set", "model:@trust/state", "x"});
  EXPECT_EQ(direct.json()["code"], "denied") << "and nobody writes them past the check: " << direct.out;
}

TEST_F(KeyTest, WhatHasExpiredIsSaid) {  // X2
  Publisher p;
  const std::uint64_t now = wall_ms_now();
  for (TrustHead* head : {&p.root.head, &p.camera.head, &p.lidar.head, &p.snapshot.head, &p.timestamp.head}) {
    head->made_ms = now - 2 * kTrustDayMs;
    head->expires_ms = now + kTrustDayMs;
  }
  p.timestamp.head.expires_ms = now - 1'000;
  const TrustSet set = p.set();
  const std::string root = write("r", p.signed_root()), timestamp = write("t", set.timestamp),
                    snapshot = write("s", set.snapshot), one = write("c", set.targets[0]),
                    two = write("l", set.targets[1]);
  refused(
      {"verify", "--root", root, "--timestamp", timestamp, "--snapshot", snapshot, "--targets", one, "--targets", two},
      "stale", "timestamp expired at ", "frozen");
  EXPECT_EQ(good({"verify", "--root", root})["standing"], "no_catalogue");
  p.root.head.expires_ms = now - 1'000;
  refused({"verify", "--root", write("r", p.signed_root())}, "stale", "root expired at ", "an old root");
}

TEST_F(KeyTest, ShowSaysWhatAFileHoldsInPlainWords) {
  make_catalogue();
  struct Case {
    std::string file, part;
  };
  const std::string id = to_hex(*key_id_of(*read_file(pub("ann")))).substr(0, 8);
  for (const Case& c :
       {Case{root1_, "root version 1 of 'city', made "}, Case{root1_, "  models 'camera*': 1 of 1 key ("},
        Case{root1_, "  root:      2 of 3 keys ("}, Case{camera_, "\n  camera 1.0.0  manifest of "},
        Case{snapshot_, "\n  targets 'camera*' version 1, "}, Case{timestamp_, "\n  snapshot version 1, "},
        Case{pem("ann"), "an Ed25519 private key, id " + id}, Case{pub("ann"), "in short " + id}}) {
    const Ran ran = key({"show", c.file});
    EXPECT_EQ(ran.code, 0) << c.file << ran.err;
    EXPECT_NE(ran.out.find(c.part), std::string::npos) << ran.out;
  }
  EXPECT_EQ(good({"show", pem("ann")})["kind"], "private_key");
  const Json root = good({"show", root1_});
  EXPECT_EQ(root["kind"], "trust_file");
  EXPECT_EQ(root["signed_by"].size(), 2u);
  EXPECT_EQ(root["keys"]["root"]["threshold"], 2);
}

TEST_F(KeyTest, WhatCannotBeWrittenIsNamed) {
  make_catalogue();
  const auto refused_there = write_trust_file(at("no/where.trust"), *read_trust_file(timestamp_));
  ASSERT_FALSE(refused_there);
  EXPECT_NE(refused_there.error().message.find("no/where.trust"), std::string::npos) << refused_there.error().message;
}

}  // namespace
}  // namespace tidelock
