// SPDX-License-Identifier: Apache-2.0
#include "host/trust/signature.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "host/base/temp_dir.hpp"
#include "host/trust/testing_keys.hpp"

namespace gantry::trust {
namespace {

using base::Code;
using ::testing::HasSubstr;
using ::testing::Not;

// Made by OpenSSL's program as signature.hpp says, so that the bytes signed stay what they are.
constexpr const char* kKnownKey = R"(-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAosYs/Bcly98lMcUDDShUX+h8fjFfpoN0jem5qCKgaYc=
-----END PUBLIC KEY-----
)";
constexpr const char* kKnownSignature =
    "351da5057e99d02e080308f780f8a7eecffd0e872048ef5576d156402120b5ca"
    "ffa7fd1604b95117b5c46d4efb8d0dd764eb58df2b922ac34bf69b3f5b22960b";

class SignatureTest : public ::testing::Test {
 protected:
  static Digest DigestOfText(const std::string& text) {
    Sha256 sum;
    sum.Update(text);
    return sum.Finish().value();
  }
  std::filesystem::path Write(const std::string& name, const std::string& content) {
    std::ofstream(temp_.path() / name) << content;
    return temp_.path() / name;
  }
  static void ExpectNoKey(const std::filesystem::path& file, const std::string& text) {
    const auto key = PublicKey::Load(file);
    ASSERT_FALSE(key) << file;
    EXPECT_EQ(key.error().code, Code::kInvalidArgument);
    EXPECT_THAT(key.error().message, HasSubstr(file.string()));
    EXPECT_THAT(key.error().message, HasSubstr(text));
  }
  base::TempDir temp_;
  const testing::KeyFiles vendor_ = testing::MakeKey(temp_.path(), "vendor");
};

TEST_F(SignatureTest, SignsTheDomainAndTheDigest) {
  const std::string bytes = SignedBytes(DigestOfText("abc"));
  EXPECT_EQ(bytes.substr(0, 27), "gantry plugin signature v1\n");
  EXPECT_EQ(bytes.substr(27, 2), "\xba\x78");
  EXPECT_EQ(bytes.size(), 59U);
}

TEST_F(SignatureTest, VerifiesWhatItSignedAndNothingElse) {
  const auto secret = PrivateKey::Load(vendor_.secret);
  const auto open = PublicKey::Load(vendor_.open);
  ASSERT_TRUE(secret && open);
  EXPECT_EQ(secret->id(), open->id());
  auto signature = secret->Sign(DigestOfText("plugin")).value();
  EXPECT_TRUE(open->Verifies(DigestOfText("plugin"), signature));
  EXPECT_FALSE(open->Verifies(DigestOfText("plugin2"), signature));
  for (const size_t i : {size_t{0}, size_t{31}, size_t{32}, size_t{63}}) {
    auto tampered = signature;
    tampered[i] ^= 1;
    EXPECT_FALSE(open->Verifies(DigestOfText("plugin"), tampered)) << i;
  }
  const auto other = testing::MakeKey(temp_.path(), "other");
  EXPECT_FALSE(PublicKey::Load(other.open)->Verifies(DigestOfText("plugin"), signature));
}

TEST_F(SignatureTest, VerifiesOneMadeByOpenSslByHand) {
  const auto open = PublicKey::Load(Write("known.pem", kKnownKey));
  ASSERT_TRUE(open) << open.error().message;
  Signature signature{};
  const std::string hex(kKnownSignature);
  for (size_t i = 0; i < signature.size(); ++i)
    signature[i] = static_cast<unsigned char>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  EXPECT_TRUE(open->Verifies(DigestOfText("plugin"), signature));
}

TEST_F(SignatureTest, ReadsSixtyFourBytesAndNothingElse) {
  EXPECT_TRUE(ReadSignature(Write("good.sig", std::string(64, 's'))));
  for (const size_t size : {size_t{0}, size_t{63}, size_t{65}, size_t{88}, size_t{100000}}) {
    const auto read = ReadSignature(Write("bad.sig", std::string(size, 's')));
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().code, Code::kInvalidArgument);
    EXPECT_THAT(read.error().message, HasSubstr("bad.sig"));
  }
  EXPECT_EQ(ReadSignature(temp_.path() / "none.sig").error().code, Code::kNotFound);
  ASSERT_EQ(mkfifo((temp_.path() / "fifo.sig").c_str(), 0600), 0);
  EXPECT_EQ(ReadSignature(temp_.path() / "fifo.sig").error().code, Code::kInvalidArgument);
}

TEST_F(SignatureTest, AKeyFileThatIsNoneIsNamed) {
  ExpectNoKey(Write("empty.pem", ""), "BEGIN PUBLIC KEY");
  ExpectNoKey(Write("text.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
              "BEGIN PUBLIC KEY");
  ExpectNoKey(Write("long.pem", std::string(kKeyFileBytesMax + 1, 'x')), "at most 16384 bytes");
  ExpectNoKey(testing::MakeKey(temp_.path(), "other", "X25519").open, "ed25519");
  ExpectNoKey(vendor_.secret, "private key");
  ExpectNoKey(temp_.path(), "regular file");
  const auto missing = PublicKey::Load(temp_.path() / "missing.pem");
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("missing.pem"));
}

TEST_F(SignatureTest, APublicKeyDoesNotSign) {
  const auto key = PrivateKey::Load(vendor_.open);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, Code::kInvalidArgument);
  EXPECT_THAT(key.error().message, HasSubstr("BEGIN PRIVATE KEY"));
}

}  // namespace
}  // namespace gantry::trust
