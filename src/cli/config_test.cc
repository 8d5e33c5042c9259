// Configuration files: what is read, and that every mistake is named by file, line, key, value and what would be right.

#include "cli/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace tidelock {
namespace {

class Folder {
 public:
  Folder() {
    std::string name = std::filesystem::temp_directory_path() / "tidelock-config-XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Folder() {
    ::unlink(file().c_str());
    ::rmdir(path.c_str());
  }
  std::string file() const { return path + "/hub.toml"; }
  std::string write(const std::string& text) const {
    EXPECT_TRUE(write_file(file(), text, 0600).has_value());
    return file();
  }
  std::string path;
};

const std::string kGood =
    "id = \"hub-1\"\ndata_dir = \"/x\"\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nhubs = "
    "[\"hub-1=127.0.0.1:1\"]\n"
    "[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n";

TEST(Config, AHubsFileSeedsTheNamespacesOfAnEmptyCluster) {
  Folder folder;
  const auto plain = read_hub_config(folder.write(kGood));
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->hub.seed.namespaces, default_namespaces());
  const auto more = read_hub_config(folder.write(
      kGood +
      "[[namespace]]\nprefix = \"limits:\"\nconsistency = \"strong\"\nscope = \"region\"\n"
      "write_mode = \"through\"\n[[namespace]]\nprefix = \"feature:\"\nconsistency = \"bounded\"\n"
      "bound_ms = 2000\nbound_floor_ms = 100\nscope = \"region\"\nwrite_mode = \"behind\"\nflush_age_ms = 500\n"));
  ASSERT_TRUE(more.has_value()) << more.error().message;
  EXPECT_EQ(more->hub.seed.namespaces.size(), default_namespaces().size() + 1);
  EXPECT_EQ(namespace_of(more->hub.seed.namespaces, "limits:speed").consistency, Consistency::kStrong);
  EXPECT_EQ(namespace_of(more->hub.seed.namespaces, "feature:x").bound_ns, 2 * kSecond);
}

TEST(Config, MistakesAreNamedByLineKeyAndValue) {
  struct Case {
    const char* why;
    std::string text;
    const char* says;
  };
  const Case cases[] = {
      {"a missing key", "id = \"hub-1\"\n", "key 'data_dir' is missing; it must be a string"},
      {"a key that is not known", kGood + "grcp = 1\n", ":10: unknown key 'tls.grcp' = 1; known keys are"},
      {"a number for a string", "id = 7\n" + kGood.substr(kGood.find('\n') + 1), ":1: id = 7: must be a string"},
      {"not TOML", "id = \n", ":1: "},
      {"a list without ids",
       kGood.substr(0, kGood.find("hubs")) + "hubs = [\"127.0.0.1:1\"]\n" + kGood.substr(kGood.find("[tls]")),
       ":5: hubs = [ \"127.0.0.1:1\" ]: must be a list like"},
      {"out of range", kGood + "[cluster]\nrho_ppm = 0\n",
       ":11: cluster.rho_ppm = 0: must be a whole number from 1 to 99999"},
      {"an unknown choice", kGood + "[[namespace]]\nprefix = \"a:\"\nconsistency = \"sometimes\"\n",
       ":12: consistency = \"sometimes\": must be one of eventual, bounded, strong"},
      {"a namespace that makes no sense", kGood + "[[namespace]]\nprefix = \"a:\"\nconsistency = \"strong\"\n",
       "namespace 'a:':"},
  };
  for (const Case& c : cases) {
    Folder folder;
    const auto settings = read_hub_config(folder.write(c.text));
    ASSERT_FALSE(settings.has_value()) << c.why;
    EXPECT_NE(settings.error().message.find(c.says), std::string::npos) << c.why << ": " << settings.error().message;
    EXPECT_TRUE(settings.error().message.starts_with(folder.file())) << c.why;
  }
  EXPECT_FALSE(read_hub_config("/nowhere/hub.toml").has_value());
}

}  // namespace
}  // namespace tidelock
