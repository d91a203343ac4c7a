// SPDX-License-Identifier: Apache-2.0
#include "host/trust/policy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "host/base/temp_dir.hpp"
#include "host/trust/signature.hpp"
#include "host/trust/testing_keys.hpp"

namespace gantry::trust {
namespace {

using base::Code;
using ::testing::HasSubstr;

class PolicyTest : public ::testing::Test {
 protected:
  PolicyTest() : plugin_(temp_.path() / "nfs.so") { digest_ = DigestOfText("plugin"); }
  static Digest DigestOfText(const std::string& text) {
    Sha256 sum;
    sum.Update(text);
    return sum.Finish().value();
  }
  void Sign(const testing::KeyFiles& key, const Digest& digest) {
    const auto signature = PrivateKey::Load(key.secret)->Sign(digest).value();
    std::ofstream(SignatureFile(plugin_))
        .write(reinterpret_cast<const char*>(signature.data()), signature.size());
  }
  void ExpectRefused(Code code, const std::vector<std::string>& texts) {
    const auto verdict = Judge(policy_, plugin_, digest_);
    ASSERT_FALSE(verdict);
    EXPECT_EQ(base::CodeName(verdict.error().code), base::CodeName(code));
    for (const auto& text : texts) EXPECT_THAT(verdict.error().message, HasSubstr(text));
  }
  base::TempDir temp_;
  const std::filesystem::path plugin_;
  const testing::KeyFiles vendor_ = testing::MakeKey(temp_.path(), "vendor");
  const testing::KeyFiles other_ = testing::MakeKey(temp_.path(), "other");
  Digest digest_{};
  Policy policy_;
};

TEST_F(PolicyTest, NothingIsTrustedUnlessSaid) {
  ExpectRefused(Code::kPermissionDenied, {"nfs.so", Hex(digest_), "no key is configured"});
}

TEST_F(PolicyTest, AnyIsAny) {
  policy_.any = true;
  EXPECT_TRUE(Judge(policy_, plugin_, digest_));
}

TEST_F(PolicyTest, AListedDigestNeedsNoSignature) {
  policy_.digests = {DigestOfText("another"), digest_};
  EXPECT_TRUE(Judge(policy_, plugin_, digest_));
}

TEST_F(PolicyTest, AnotherDigestIsRefusedWithItsOwn) {
  policy_.digests = {DigestOfText("another")};
  ExpectRefused(Code::kPermissionDenied, {"nfs.so", Hex(digest_), "none of the 1 listed"});
}

TEST_F(PolicyTest, ASignatureByAnyOfTheKeysIsEnough) {
  policy_.keys = {other_.open, vendor_.open};
  Sign(vendor_, digest_);
  const auto verdict = Judge(policy_, plugin_, digest_);
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_THAT(verdict->reason, HasSubstr(vendor_.open.string()));
}

TEST_F(PolicyTest, AMissingSignatureIsRefusedAndNamed) {
  policy_.keys = {vendor_.open};
  ExpectRefused(Code::kPermissionDenied, {Hex(digest_), "nfs.so.sig"});
}

TEST_F(PolicyTest, ASignatureOfOtherBytesIsRefusedWithTheKeysThatWereTried) {
  policy_.keys = {vendor_.open, other_.open};
  Sign(vendor_, DigestOfText("tampered"));
  ExpectRefused(Code::kPermissionDenied,
                {Hex(digest_), "nfs.so.sig", vendor_.open.string(), other_.open.string(),
                 PublicKey::Load(vendor_.open)->id()});
}

TEST_F(PolicyTest, ASignatureByAnotherKeyIsRefused) {
  policy_.keys = {vendor_.open};
  Sign(other_, digest_);
  ExpectRefused(Code::kPermissionDenied, {vendor_.open.string()});
}

TEST_F(PolicyTest, ABadKeyFileIsAnErrorEvenWhereAnotherWouldDo) {
  std::ofstream(temp_.path() / "bad.pem") << "no key";
  policy_.keys = {vendor_.open, temp_.path() / "bad.pem"};
  Sign(vendor_, digest_);
  ExpectRefused(Code::kInvalidArgument, {"bad.pem", "BEGIN PUBLIC KEY"});
}

}  // namespace
}  // namespace gantry::trust
