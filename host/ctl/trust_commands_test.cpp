// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/trust_commands.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <sstream>

#include "host/base/temp_dir.hpp"
#include "host/trust/testing_keys.hpp"

namespace gantry::ctl {
namespace {

using ::testing::HasSubstr;

class TrustCommandsTest : public ::testing::Test {
 protected:
  TrustCommandsTest() { Write("nfs.so", "plugin"); }
  std::filesystem::path Path(const std::string& name) const { return temp_.path() / name; }
  void Write(const std::string& name, const std::string& content) {
    std::ofstream(Path(name), std::ios::trunc) << content;
  }
  // As main does it.
  int Run(std::vector<std::string> words) {
    out_.str("");
    error_.str("");
    auto* const old_out = std::cout.rdbuf(out_.rdbuf());
    auto* const old_error = std::cerr.rdbuf(error_.rdbuf());
    CLI::App app;
    app.require_subcommand(1);
    int code = -1;
    AddTrustCommands(app, &code);
    std::reverse(words.begin(), words.end());
    try {
      app.parse(words);
    } catch (const CLI::ParseError&) {
      code = kBadInput;
    }
    std::cout.rdbuf(old_out);
    std::cerr.rdbuf(old_error);
    return code;
  }
  void Configure(const std::string& trust, const std::string& of_backend) {
    Write("gantry.yaml", "trust: " + trust +
                             "\ndrivers:\n  - name: a.example\n    endpoint: unix:///csi.sock\n"
                             "    backends: [fast]\nbackends:\n  fast: {plugin: nfs, owner: o, "
                             "uid: 61001" +
                             of_backend + "}\n");
  }
  int VerifyConfigured(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"verify", "--config", Path("gantry.yaml")});
    more.push_back(Path("nfs.so"));
    return Run(more);
  }

  base::TempDir temp_;
  const trust::testing::KeyFiles vendor_ = trust::testing::MakeKey(temp_.path(), "vendor");
  const trust::testing::KeyFiles other_ = trust::testing::MakeKey(temp_.path(), "other");
  std::ostringstream out_;
  std::ostringstream error_;
};

TEST_F(TrustCommandsTest, WhatIsSignedVerifiesUntilItIsChanged) {
  EXPECT_EQ(Run({"sign", "--key", vendor_.secret, Path("nfs.so")}), kTrusted) << error_.str();
  EXPECT_EQ(Run({"verify", "--key", other_.open, "--key", vendor_.open, Path("nfs.so")}), kTrusted)
      << error_.str();
  EXPECT_THAT(out_.str(), HasSubstr(vendor_.open.string()));
  EXPECT_EQ(Run({"verify", "--key", other_.open, Path("nfs.so")}), kNotTrusted);
  EXPECT_THAT(error_.str(), HasSubstr(other_.open.string()));
  Write("nfs.so", "plugiN");
  EXPECT_EQ(Run({"verify", "--key", vendor_.open, Path("nfs.so")}), kNotTrusted);
}

TEST_F(TrustCommandsTest, WhatCannotBeUsedIsAnotherExitCode) {
  EXPECT_EQ(Run({"sign", "--key", vendor_.open, Path("nfs.so")}), kBadInput);
  EXPECT_EQ(Run({"sign", "--key", vendor_.secret, Path("none.so")}), kBadInput);
  EXPECT_EQ(Run({"verify", "--key", vendor_.secret, Path("nfs.so")}), kBadInput);
  EXPECT_EQ(Run({"verify", "--key", vendor_.open, Path("none.so")}), kBadInput);
  EXPECT_THAT(error_.str(), HasSubstr("none.so"));
  EXPECT_EQ(Run({"verify", "--config", Path("none.yaml"), Path("nfs.so")}), kBadInput);
  EXPECT_EQ(Run({"verify", "--key", vendor_.open, "--config", "x", Path("nfs.so")}), kBadInput);
  EXPECT_EQ(Run({"verify"}), kBadInput);
}

TEST_F(TrustCommandsTest, TheConfigurationDecidesForEachBackendThatLoadsIt) {
  Configure("any", "");
  EXPECT_EQ(VerifyConfigured(), kTrusted) << error_.str();
  EXPECT_THAT(out_.str(), HasSubstr("backend fast: "));
  Configure("any", ", trust: {keys: [" + vendor_.open.string() + "]}");
  EXPECT_EQ(VerifyConfigured(), kNotTrusted);
  EXPECT_THAT(error_.str(), HasSubstr("nfs.so.sig"));
  ASSERT_EQ(Run({"sign", "--key", vendor_.secret, Path("nfs.so")}), kTrusted);
  EXPECT_EQ(VerifyConfigured({"--backend", "fast"}), kTrusted) << error_.str();
  EXPECT_EQ(VerifyConfigured({"--backend", "slow"}), kBadInput);
  EXPECT_THAT(error_.str(), HasSubstr("slow"));
}

TEST_F(TrustCommandsTest, APluginThatNoBackendLoadsIsJudgedByTheCommonPolicy) {
  Configure("{keys: [" + vendor_.open.string() + "]}", "");
  Write("iscsi.so", "plugin");
  EXPECT_EQ(Run({"verify", "--config", Path("gantry.yaml"), Path("iscsi.so")}), kNotTrusted);
  ASSERT_EQ(Run({"sign", "--key", vendor_.secret, Path("iscsi.so")}), kTrusted);
  EXPECT_EQ(Run({"verify", "--config", Path("gantry.yaml"), Path("iscsi.so")}), kTrusted);
}

}  // namespace
}  // namespace gantry::ctl
