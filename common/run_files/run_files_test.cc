// A learner's files over a real port, into a worker's cache.
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cohort/v1/files.grpc.pb.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "common/rpc/grpc_status.h"
#include "common/rpc/security.h"
#include "common/rpc/server_host.h"
#include "common/run_files/file_cache.h"
#include "common/run_files/listing.h"
#include "common/run_files/run_files_client.h"
#include "common/run_files/run_files_service.h"
#include "common/wire/protocol.h"

namespace cohort {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Bytes(size_t size, char salt) {
  std::string bytes(size, salt);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(salt + i % 251);
  return bytes;
}

class RunFilesTest : public testing::Test {
 protected:
  RunFilesTest() {
    Write("policy/config.json", "{}");
    Write("policy/tokenizer.json", Bytes(3'000'000, 't'));
    Write("policy/model.safetensors", "weights that come another way");
    Write("policy/notes.txt", "nobody's business");
    Write("judge/config.json", "{\"judge\": 1}");
    Write("judge/tokenizer.json", Bytes(3'000'000, 't'));
    Write("judge/model.safetensors", Bytes(2'500'000, 'w'));
    config_.mutable_model()->set_path(Path("policy"));
    config_.mutable_algorithm()->mutable_reward()->add_sources()->set_name("rule_math");
    v1::RewardComponent* judge = config_.mutable_algorithm()->mutable_reward()->add_sources();
    judge->set_name("reward_model");
    judge->set_path(Path("judge"));
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  void Write(const std::string& name, const std::string& content) {
    COHORT_ASSERT_OK(MakeFolders(std::filesystem::path(Path(name)).parent_path().string()));
    COHORT_ASSERT_OK(WriteFileAtomic(Path(name), content));
  }

  void StartLearner(const std::string& listen = "127.0.0.1:0") {
    RunFilesService::Options options;
    options.model_sha256 = std::string(64, 'a');
    options.max_reads = max_reads_;
    options.stall_limit = stall_limit_;
    options.security = security_;
    service_ = std::make_unique<RunFilesService>(options, config_);
    ServerHost::Options host;
    host.listen = listen;
    host.services = {service_->grpc_service()};
    COHORT_ASSERT_OK_AND_ASSIGN(host_, ServerHost::Start(host));
    address_ = host_->address();
  }
  void StopLearner() {
    service_->Shutdown();
    host_.reset();
    service_.reset();
  }
  ~RunFilesTest() override {
    if (service_ != nullptr) StopLearner();
  }

  absl::Status FetchIntoCache(RunFilesClient* client, const std::vector<v1::RunFile>& files) const {
    FileCache cache(Path("cache"));
    return client->Fetch(files, &cache);
  }
  RunFilesClient::Options ClientOptions() const {
    return {.learner = address_, .worker_id = "w", .connect_limit = absl::Seconds(20), .seed = 1};
  }

  TemporaryFolder folder_;
  v1::RunConfig config_;
  int max_reads_ = 32;
  absl::Duration stall_limit_ = absl::Seconds(30);
  std::shared_ptr<const Security> security_;
  std::unique_ptr<RunFilesService> service_;
  std::unique_ptr<ServerHost> host_;
  std::string address_;
};

TEST_F(RunFilesTest, AWorkerGetsTheModelsAsFoldersOfTheSameFiles) {
  StartLearner();
  RunFilesClient client(ClientOptions());
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
  EXPECT_EQ(plan.config.SerializeAsString(), config_.SerializeAsString()) << "set is not set";
  EXPECT_EQ(plan.model_sha256, std::string(64, 'a'));
  FileCache cache(Path("cache"));
  COHORT_ASSERT_OK(client.Fetch(plan.files, &cache));
  COHORT_ASSERT_OK_AND_ASSIGN(const auto folders, ModelFolders::Make(cache, plan.files));
  const auto names = [](const std::string& folder) {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  };
  const std::string policy = folders->PathOf(kPolicyFolder);
  const std::string judge = folders->PathOf(RewardModelFolder(1));
  EXPECT_THAT(names(policy), UnorderedElementsAre("config.json", "tokenizer.json"));
  EXPECT_THAT(names(judge),
              UnorderedElementsAre("config.json", "tokenizer.json", "model.safetensors"));
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    EXPECT_EQ(ReadFile(absl::StrCat(judge, "/", name)).value_or(""),
              ReadFile(Path(absl::StrCat("judge/", name))).value_or("absent"))
        << name;
  }
  EXPECT_EQ(ReadFile(policy + "/tokenizer.json").value_or(""), Bytes(3'000'000, 't'));
}

TEST_F(RunFilesTest, WhatIsInTheCacheIsNotAskedForAgain) {
  StartLearner();
  RunFilesClient client(ClientOptions());
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
  COHORT_ASSERT_OK(FetchIntoCache(&client, plan.files));
  StopLearner();
  COHORT_EXPECT_OK(FetchIntoCache(&client, plan.files));
}

TEST_F(RunFilesTest, ADamagedCacheEntryIsFetchedAgain) {
  StartLearner();
  RunFilesClient client(ClientOptions());
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
  FileCache cache(Path("cache"));
  COHORT_ASSERT_OK(client.Fetch(plan.files, &cache));
  std::string bytes = Bytes(3'000'000, 't');
  bytes[1'500'000] ^= 1;
  const std::string entry = Path("cache/" + Sha256Hex(Bytes(3'000'000, 't')));
  COHORT_ASSERT_OK(WriteFileAtomic(entry, bytes));
  COHORT_ASSERT_OK(client.Fetch(plan.files, &cache));
  EXPECT_EQ(Sha256Hex(ReadFile(entry).value_or("")), Sha256Hex(Bytes(3'000'000, 't')));
}

TEST_F(RunFilesTest, TwoWorkersFillOneCacheAtOnce) {
  StartLearner();
  std::vector<absl::Status> results(2);
  std::vector<std::thread> workers;
  for (absl::Status& result : results) {
    workers.emplace_back([&] {
      RunFilesClient client(ClientOptions());
      const absl::StatusOr<FetchPlan> plan = client.Describe();
      result = plan.ok() ? FetchIntoCache(&client, plan->files) : plan.status();
    });
  }
  for (std::thread& worker : workers) worker.join();
  COHORT_EXPECT_OK(results[0]);
  COHORT_EXPECT_OK(results[1]);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(Path("cache"))) {
    EXPECT_EQ(entry.path().filename().string(), Sha256Hex(ReadFile(entry.path()).value_or("")));
    ++files;
  }
  EXPECT_EQ(files, 4) << "something unfinished was left behind";
}

TEST_F(RunFilesTest, ALearnerThatIsNotThereYetIsWaitedFor) {
  StartLearner();
  StopLearner();
  absl::StatusOr<FetchPlan> plan = absl::UnknownError("");
  RunFilesClient client(ClientOptions());
  std::thread worker([&] { plan = client.Describe(); });
  StartLearner(address_);
  worker.join();
  COHORT_EXPECT_OK(plan.status());
}

TEST_F(RunFilesTest, WaitingEndsWithTheLimitOrWhenStopped) {
  StartLearner();
  StopLearner();
  RunFilesClient::Options options = ClientOptions();
  options.connect_limit = absl::Milliseconds(300);
  EXPECT_THAT(RunFilesClient(options).Describe(),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr(address_)));
  RunFilesClient client(ClientOptions());
  std::thread stop([&] { client.Stop(); });
  EXPECT_THAT(client.Describe(), StatusIs(absl::StatusCode::kCancelled, testing::_));
  stop.join();
}

TEST_F(RunFilesTest, AFileThatChangedSinceTheStartIsNamed) {
  StartLearner();
  RunFilesClient client(ClientOptions());
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
  Write("judge/model.safetensors", Bytes(2'500'000, 'x'));
  EXPECT_THAT(FetchIntoCache(&client, plan.files),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(Path("judge/model.safetensors")), HasSubstr("restart"))));
}

TEST_F(RunFilesTest, OnlyListedContentCanBeRead) {
  StartLearner();
  const auto stub = v1::RunFiles::NewStub(MakeChannel(address_));
  RunFilesClient client(ClientOptions());
  COHORT_ASSERT_OK(client.Describe().status());
  for (const std::string& hash : {Sha256Hex("nobody's business"), Path("policy/notes.txt"),
                                  std::string("../../etc/passwd"), std::string()}) {
    grpc::ClientContext context;
    v1::ReadRequest request;
    request.set_sha256(hash);
    v1::FileChunk piece;
    const auto reader = stub->Read(&context, request);
    EXPECT_FALSE(reader->Read(&piece));
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND) << hash;
  }
}

TEST_F(RunFilesTest, ACallWithoutTheRunsSecretGetsNothing) {
  SecurityOptions secret;
  secret.secret = std::string(64, 's');
  COHORT_ASSERT_OK_AND_ASSIGN(security_, Security::Create(secret));
  StartLearner();
  EXPECT_THAT(RunFilesClient(ClientOptions()).Describe(),
              StatusIs(absl::StatusCode::kUnauthenticated, testing::_));
  RunFilesClient::Options known = ClientOptions();
  known.security = security_;
  RunFilesClient client(known);
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
  COHORT_EXPECT_OK(FetchIntoCache(&client, plan.files));

  const auto stub = v1::RunFiles::NewStub(MakeChannel(address_));
  grpc::ClientContext context;
  v1::ReadRequest request;
  request.set_sha256(plan.files.front().sha256());
  v1::FileChunk piece;
  const auto reader = stub->Read(&context, request);
  EXPECT_FALSE(reader->Read(&piece));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(RunFilesTest, AMissingRewardModelIsNamedByItsField) {
  std::filesystem::remove_all(Path("judge"));
  StartLearner();
  EXPECT_THAT(RunFilesClient(ClientOptions()).Describe(),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("algorithm.reward.sources[1].path"), HasSubstr("judge"))));
}

// A Read call whose file does not fit into the buffers of a connection that nobody reads from.
class StalledRead {
 public:
  StalledRead(const std::string& address, const std::string& sha256)
      : stub_(v1::RunFiles::NewStub(MakeChannel(address))) {
    v1::ReadRequest request;
    request.set_sha256(sha256);
    reader_ = stub_->Read(&context_, request);
    v1::FileChunk piece;
    EXPECT_TRUE(reader_->Read(&piece));  // it was let in
  }
  ~StalledRead() {
    context_.TryCancel();
    reader_->Finish();
  }

 private:
  const std::unique_ptr<v1::RunFiles::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::FileChunk>> reader_;
};

TEST_F(RunFilesTest, CallsAreBoundedAndAStalledOneGivesItsPlaceAway) {
  for (const bool stalled : {false, true}) {
    max_reads_ = 1;
    stall_limit_ = stalled ? absl::ZeroDuration() : absl::Hours(1);
    Write("judge/model.safetensors", Bytes(64'000'000, 'w'));
    StartLearner();
    RunFilesClient::Options options = ClientOptions();
    options.connect_limit = absl::Seconds(stalled ? 20 : 1);
    RunFilesClient client(options);
    COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
    {
      const StalledRead first(address_, Sha256Hex(Bytes(64'000'000, 'w')));
      EXPECT_EQ(FetchIntoCache(&client, {plan.files.front()}).ok(), stalled);
    }
    StopLearner();
  }
}

TEST_F(RunFilesTest, AFolderThatCannotBeWrittenToIsReplacedForThisRun) {
  Write("file", "not a folder");
  std::string used;
  {
    const FileCache cache(Path("file/cache"));
    used = cache.folder();
    EXPECT_TRUE(std::filesystem::exists(used));
    EXPECT_NE(used, Path("file/cache"));
  }
  EXPECT_FALSE(std::filesystem::exists(used));
}

TEST_F(RunFilesTest, ACacheThatTakesNoFilesIsReplacedWhileTheyAreFetched) {
  StartLearner();
  RunFilesClient client(ClientOptions());
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, client.Describe());
  // Something of another kind is in the place of the last file.
  const std::string in_the_way = Path("cache/" + plan.files.back().sha256());
  COHORT_ASSERT_OK(MakeFolders(in_the_way + "/full"));
  FileCache cache(Path("cache"));
  COHORT_ASSERT_OK(client.Fetch(plan.files, &cache));
  EXPECT_NE(cache.folder(), Path("cache"));
  for (const v1::RunFile& file : plan.files) EXPECT_TRUE(cache.Has(file)) << file.name();
  COHORT_EXPECT_OK(ModelFolders::Make(cache, plan.files).status());
  EXPECT_TRUE(std::filesystem::exists(in_the_way + "/full")) << "it is not ours to remove";

  EXPECT_THAT(cache.FallBack(absl::ResourceExhaustedError("no space left")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       testing::AllOf(HasSubstr("no space left"), HasSubstr("--cache"))));
}

TEST_F(RunFilesTest, WhatNobodyUsedForLongIsRemoved) {
  Write("cache/old", "");
  Write("cache/part-old", "");
  Write("cache/young", "");
  Write("cache/part-young", "");
  const auto age = [&](const std::string& name, absl::Duration by) {
    std::filesystem::last_write_time(
        Path(name), std::filesystem::file_time_type::clock::now() - absl::ToChronoSeconds(by));
  };
  age("cache/old", FileCache::kKeep + absl::Hours(1));
  age("cache/young", FileCache::kKeep - absl::Hours(1));
  age("cache/part-old", absl::Hours(25));
  age("cache/part-young", absl::Hours(23));
  const FileCache cache(Path("cache"));
  for (const char* name : {"old", "part-old"}) {
    EXPECT_FALSE(std::filesystem::exists(Path(absl::StrCat("cache/", name)))) << name;
  }
  for (const char* name : {"young", "part-young"}) {
    EXPECT_TRUE(std::filesystem::exists(Path(absl::StrCat("cache/", name)))) << name;
  }
}

// ---- bytes from outside ----

v1::DescribeReply Description() {
  v1::DescribeReply reply;
  reply.set_resolved_config("{\"model\": {\"path\": \"m\"}}");
  reply.set_model_sha256(std::string(64, 'a'));
  for (const char* name : {"config.json", "tokenizer.json", "chat_template.jinja"}) {
    v1::RunFile* file = reply.add_files();
    file->set_folder(kPolicyFolder);
    file->set_name(name);
    file->set_size(7);
    file->set_sha256(Sha256Hex(name));
  }
  return reply;
}

TEST(ParseDescriptionTest, TakesWhatALearnerSends) {
  COHORT_ASSERT_OK_AND_ASSIGN(const FetchPlan plan, ParseDescription(Description()));
  EXPECT_EQ(plan.config.model().path(), "m");
  EXPECT_EQ(plan.files.size(), 3U);
}

TEST(ParseDescriptionTest, RefusesWhatWouldNameOtherFiles) {
  for (const std::string name :
       {"", ".", "..", ".hidden", "a/b", "../x", "a\\b", "a b", "a\nb", "\x1b[2J"}) {
    v1::DescribeReply reply = Description();
    reply.mutable_files(2)->set_name(name);
    EXPECT_THAT(ParseDescription(reply),
                StatusIs(kInvalid, AllOf(HasSubstr("expected a name"), Not(HasSubstr("\x1b")),
                                         Not(HasSubstr("\n")))))
        << name;
  }
  for (const char* folder : {"", "..", "/etc", "algorithm.reward.sources[0].path"}) {
    v1::DescribeReply reply = Description();
    reply.mutable_files(2)->set_folder(folder);
    EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("expected the folder")));
  }
  for (const std::string& hash :
       {std::string("ab"), std::string(64, 'A'), std::string(64, '/'), std::string(65, 'a')}) {
    v1::DescribeReply reply = Description();
    reply.mutable_files(2)->set_sha256(hash);
    EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("SHA-256")));
    reply = Description();
    reply.set_model_sha256(hash);
    EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("SHA-256")));
  }
}

TEST(ParseDescriptionTest, RefusesSizesThatNoModelHas) {
  v1::DescribeReply reply = Description();
  reply.mutable_files(0)->set_size(kMaxRunFileBytes + 1);
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("at most")));
  reply = Description();
  for (int i = 0; i < 9; ++i) {
    *reply.add_files() = reply.files(0);
    reply.mutable_files(3 + i)->set_name(absl::StrCat("part-", i));
    reply.mutable_files(3 + i)->set_sha256(Sha256Hex(absl::StrCat(i)));
    reply.mutable_files(3 + i)->set_size(kMaxRunFileBytes);
  }
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("at most")));
  reply = Description();
  for (int i = 0; i < kMaxRunFiles; ++i) *reply.add_files() = reply.files(0);
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("4096 files")));
}

TEST(ParseDescriptionTest, RefusesWhatContradictsItself) {
  v1::DescribeReply reply = Description();
  reply.mutable_files(2)->set_name("config.json");
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("twice")));
  reply = Description();
  reply.mutable_files(2)->set_sha256(reply.files(0).sha256());
  reply.mutable_files(2)->set_size(8);
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("another file of its hash")));
  reply = Description();
  reply.mutable_files()->RemoveLast();
  reply.mutable_files()->RemoveLast();
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("no tokenizer.json")));
  reply = Description();
  reply.set_resolved_config("{");
  EXPECT_THAT(ParseDescription(reply), StatusIs(kInvalid, HasSubstr("configuration")));
}

TEST(FileAssemblerTest, TakesExactlyTheFile) {
  v1::RunFile file;
  file.set_name("f");
  file.set_size(6);
  file.set_sha256(Sha256Hex("abcdef"));
  {
    FileAssembler assembler(file);
    COHORT_EXPECT_OK(assembler.Add("abc"));
    EXPECT_THAT(assembler.Add(""), StatusIs(kInvalid, testing::_));
    EXPECT_THAT(assembler.Add("defg"), StatusIs(kInvalid, HasSubstr("found more")));
    EXPECT_THAT(assembler.Add(std::string((1 << 20) + 1, 'x')), StatusIs(kInvalid, testing::_));
    COHORT_EXPECT_OK(assembler.Add("def"));
    COHORT_EXPECT_OK(assembler.Finish());
  }
  FileAssembler shorter(file), other(file);
  COHORT_EXPECT_OK(shorter.Add("abc"));
  EXPECT_THAT(shorter.Finish(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("found 3")));
  COHORT_EXPECT_OK(other.Add("abcdeX"));
  EXPECT_THAT(other.Finish(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("SHA-256")));
}

}  // namespace
}  // namespace cohort
