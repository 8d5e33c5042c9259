// `tidelock model verify` and `gc` where no node is asked, and what an edge's file says of its store of models and of
// the root that it follows. With running nodes: tests/system/model_care_test.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/config.h"
#include "cli/run_fixture.h"
#include "codec/trust_fixture.h"
#include "store/models/blob_store.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

TEST(ModelCareLine, AStoreThatNobodyHoldsIsReadHere) {  // X3
  const TestFolder folder;
  Bytes good, bad;
  {
    const auto blobs = *BlobStore::open(folder.path());
    good = *blobs->put("good");
    bad = *blobs->put("bad");
    const std::string path = *blobs->path(bad);
    const Ran held = run({"model", "verify", "--store", folder.path()});
    EXPECT_EQ(held.code, 1);
    EXPECT_NE(held.err.find("in use by another process"), std::string::npos) << held.err;
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    std::ofstream(path, std::ios::binary) << "bAd";
  }
  const Ran text = run({"model", "verify", "--store", folder.path()});
  EXPECT_EQ(text.code, 1);
  EXPECT_NE(text.out.find(": 1 files are whole, 1 corrupt\n  corrupt      " + to_hex(bad).substr(0, 16) + "..., 3 B: "),
            std::string::npos)
      << text.out;
  const Json json = run({"--json", "model", "verify", "--store", folder.path()}).json();
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["code"], "corrupt");
  EXPECT_EQ(json["nodes"][0]["corrupt"], 1);
  EXPECT_EQ(json["nodes"][0]["files"][0]["sha256"], to_hex(bad));
  EXPECT_TRUE(fs::exists(folder.path() + "/blobs/" + to_hex(bad).substr(0, 2) + "/" + to_hex(bad)))
      << "a look changes nothing";
  fs::remove(folder.path() + "/blobs/" + to_hex(bad).substr(0, 2) + "/" + to_hex(bad));
  EXPECT_EQ(run({"model", "verify", "--store", folder.path()}).code, 0);
}

TEST(ModelCareLine, SaysWhatIsMissingFromIt) {
  const TestFolder folder;
  struct Case {
    std::vector<std::string> words;
    const char* says;
  };
  const Case cases[] = {
      {{"model", "verify"}, "whose models? give --run-dir of an edge"},
      {{"model", "gc"}, "whose models?"},
      {{"model", "verify", "--store", folder.path()}, "no store of models; it is data_dir/models of a hub"},
      {{"model", "verify", "--store", folder.path(), "--repair"}, "--repair needs a running node"},
      {{"model", "gc", "--run-dir", folder.path()}, "no edge at unix:"},
  };
  for (const Case& c : cases) {
    const Ran ran = run(c.words);
    EXPECT_EQ(ran.code, 1) << c.says;
    EXPECT_NE(ran.err.find(c.says), std::string::npos) << c.says << ": " << ran.err;
  }
}

TEST(EdgeModels, AnEdgesFileSetsQuotaAndRateAndPinsARoot) {  // M8, X2, X3
  const TestFolder folder;
  const std::string good =
      "id = \"edge-1\"\nsite = \"a\"\ndata_dir = \"/x\"\nrun_dir = \"/y\"\nhubs = [\"hub-1=127.0.0.1:1\"]\n"
      "[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";
  const std::string file = folder.path() + "/edge.toml", root_file = folder.path() + "/root-1.trust";
  const auto read = [&](const std::string& more) {
    EXPECT_TRUE(write_file(file, good + more, 0600));
    return read_edge_config(file);
  };
  const auto plain = read("");
  ASSERT_TRUE(plain) << plain.error().message;
  EXPECT_EQ(plain->edge.models.quota_bytes, 0u);
  EXPECT_EQ(plain->edge.models.rehash_bytes_per_s, 256u << 10);
  EXPECT_TRUE(plain->edge.models.trust_root.empty() && plain->edge.models.trust_root_sha256.empty());

  Publisher p;
  const Bytes root = p.signed_root();
  const std::string digest = to_hex(trust_content_sha256(*parse_trust(root)));
  ASSERT_TRUE(write_file(root_file, root, 0600));
  const auto by_file = read("[models]\nquota_mib = 300\nrehash_kib_per_s = 0\n[trust]\nroot = \"" + root_file + "\"\n");
  ASSERT_TRUE(by_file) << by_file.error().message;
  EXPECT_EQ(by_file->edge.models.quota_bytes, 300u << 20);
  EXPECT_EQ(by_file->edge.models.rehash_bytes_per_s, 0u);
  EXPECT_EQ(by_file->edge.models.trust_root, root);
  EXPECT_NE(print_config(*by_file).find("\"root_sha256\": \"" + digest), std::string::npos) << print_config(*by_file);
  const auto by_digest = read("[trust]\nroot_sha256 = \"" + digest + "\"\n");
  ASSERT_TRUE(by_digest) << by_digest.error().message;
  EXPECT_EQ(to_hex(by_digest->edge.models.trust_root_sha256), digest);
  const Ran shown = run({"key", "show", root_file});
  EXPECT_NE(shown.out.find("content:   SHA-256 " + digest), std::string::npos) << shown.out;
  EXPECT_EQ(run({"--json", "key", "show", root_file}).json()["content_sha256"], digest);

  Publisher nobody;
  ASSERT_TRUE(
      write_file(folder.path() + "/unsigned.trust", encode(sign_trust(nobody.root, {nobody.root_keys[0]})), 0600));
  const std::pair<std::string, const char*> wrong[] = {
      {"root = \"" + root_file + "\"\nroot_sha256 = \"" + digest + "\"", "root and root_sha256 say the same"},
      {"root_sha256 = \"" + digest.substr(2) + "\"", "must be the 64 digits that `tidelock key show` prints"},
      {"root_sha256 = \"" + digest.substr(1) + "x\"", "must be the 64 digits"},
      {"root = \"/no/such/file\"", "trust.root = /no/such/file: No such file"},
      {"root = \"" + file + "\"", "trust.root = \""},
      {"root = \"" + folder.path() + "/unsigned.trust\"", "unsigned.trust\": root: signed by 1 of 2"},
  };
  for (const auto& [text, says] : wrong) {
    const auto refused = read("[trust]\n" + text + "\n");
    ASSERT_FALSE(refused) << text;
    EXPECT_NE(refused.error().message.find(says), std::string::npos) << text << ": " << refused.error().message;
  }
}

}  // namespace
}  // namespace tidelock
