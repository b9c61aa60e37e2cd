// The readiness protocol of docs/READINESS.md as a small machine, and every interleaving of its steps, a kill at each of them included.
//
// A step here is one load, store, exchange or system call of doorbell.cc or record_ring.cc; between two steps anybody else may run. What is explored
// is the protocol; that the code takes these steps, and that its memory orders make them steps, is for doorbell_test, readiness_stress_test and the
// comments there. Each obligation is also checked against a protocol with one step left out, which must fail: a checker that cannot say no says
// nothing.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace gannet::engine {
namespace {

// Visits every state that `step(state, emit)` leads to, and returns the first complaint, or "".
template <class State, class Step>
std::string explore(const State& initial, Step step) {
  static_assert(std::has_unique_object_representations_v<State> && sizeof(State) <= 24, "states are compared by their bytes");
  using Key = std::array<std::uint64_t, 3>;
  struct Hash {
    std::size_t operator()(const Key& key) const {
      return (key[0] * 0x9e3779b97f4a7c15 ^ key[1]) * 0xff51afd7ed558ccd ^ (key[2] * 0xc4ceb9fe1a85ec53) >> 7;
    }
  };
  const auto key_of = [](const State& state) {
    Key key{};
    std::memcpy(key.data(), &state, sizeof state);
    return key;
  };
  std::unordered_set<Key, Hash> seen{key_of(initial)};
  std::vector<State> open{initial};
  std::string complaint;
  while (!open.empty() && complaint.empty()) {
    const State state = open.back();
    open.pop_back();
    complaint = step(state, [&](const State& next) {
      if (seen.insert(key_of(next)).second) open.push_back(next);
    });
  }
  EXPECT_GT(seen.size(), 100u) << "there was nothing to explore";
  return complaint;
}

// ---- Readers: arrivals, tokens, edges ----

struct Readiness {
  struct Protocol {
    bool edge_triggered = false;  // readers wait for an edge and read until empty; else they wait while there is no token, and read once
    bool rings_always = false;    // a token for each arrival, whether or not a reader moved since the last
    bool rechecks = true;         // who took the tokens looks again
    bool awaits_ring = true;      // ... and waits for the engine to finish ringing first
    bool watched = true;          // the engine hears that tokens were taken (EPOLLOUT): where processes share the descriptor
    std::uint8_t kills = 0;
  };
  enum ReaderAt : std::uint8_t { waiting, load_tail, load_head, swap, await, drain, look_again, look_for_token, ask, dead };
  enum EngineAt : std::uint8_t { idle, publish, decide, put, hush, recheck, recheck_token, recheck_put };
  struct Reader {
    ReaderAt at = waiting;
    std::uint8_t tail = 0, head = 0, edge = 0, tries = 1;  // tries: how often it reads without being told to
    bool operator==(const Reader&) const = default;
  };
  struct State {
    std::uint8_t arrivals = 3, head = 0, tail = 0, tokens = 0, ringing = 0, events = 0;
    EngineAt engine = idle;
    std::uint8_t has_rung = 0, rung_tail = 0, kills = 0;
    std::array<Reader, 2> readers{};
  };

  Protocol protocol;

  void put_token(State& s) const {
    ++s.tokens;
    s.rung_tail = s.tail;
    s.has_rung = s.tail != s.head;
    for (Reader& reader : s.readers) reader.edge = protocol.edge_triggered;
  }

  template <class Emit>
  bool engine_steps(const State& s, Emit emit) const {
    State n = s;
    switch (s.engine) {
      case idle:
        if (s.arrivals > 0) {
          n.ringing = 1;
          n.engine = publish;
          emit(n);
        }
        if (s.events != 0) {
          n = s;
          n.events = 0;
          n.ringing = 1;
          n.engine = recheck;
          emit(n);
        }
        return s.arrivals > 0 || s.events != 0;
      case publish:
        ++n.head;
        --n.arrivals;
        n.engine = decide;
        emit(n);
        if (n.arrivals > 0) {  // one more in the same batch
          n.engine = publish;
          emit(n);
        }
        return true;
      case decide: {
        const bool moved = protocol.rings_always || s.has_rung == 0 || s.tail != s.rung_tail;
        n.engine = moved && s.tail != s.head ? put : hush;
        break;
      }
      case put:
        put_token(n);
        n.engine = hush;
        break;
      case hush:
        n.ringing = 0;
        n.engine = idle;
        break;
      case recheck:
        n.engine = s.tail != s.head ? recheck_token : hush;
        break;
      case recheck_token:
        n.engine = s.tokens == 0 ? recheck_put : hush;
        break;
      case recheck_put:
        put_token(n);
        n.engine = hush;
        break;
    }
    emit(n);
    return true;
  }

  [[nodiscard]] ReaderAt after_read(bool emptied) const {
    if (!emptied) return protocol.edge_triggered ? load_tail : waiting;
    return protocol.awaits_ring ? await : drain;
  }

  template <class Emit>
  bool reader_steps(const State& s, std::size_t who, Emit emit) const {
    State n = s;
    Reader& r = n.readers[who];
    switch (s.readers[who].at) {
      case waiting: {
        const bool told = protocol.edge_triggered ? r.edge != 0 : s.tokens != 0;
        if (!told && r.tries == 0) return false;
        if (!told) --r.tries;
        r.edge = 0;
        r.at = load_tail;
        emit(n);
        return told;  // nobody counts on a reader that reads without being told to
      }
      case load_tail:
        r.tail = s.tail;
        r.at = load_head;
        break;
      case load_head:
        r.head = s.head;
        r.at = r.tail == s.head ? after_read(true) : swap;
        break;
      case swap:
        if (s.tail != r.tail) {
          r.at = load_tail;
        } else {
          ++n.tail;
          r.at = after_read(n.tail == r.head);
        }
        break;
      case await:
        if (s.ringing != 0) return false;
        r.at = drain;
        break;
      case drain:
        if (protocol.watched && s.tokens != 0) n.events = 1;
        n.tokens = 0;
        r.at = protocol.rechecks ? look_again : waiting;
        break;
      case look_again:
        r.at = s.tail != s.head ? look_for_token : waiting;
        break;
      case look_for_token:
        r.at = s.tokens == 0 ? ask : waiting;
        break;
      case ask:
        n.events = 1;
        r.at = waiting;
        break;
      case dead:
        return false;
    }
    if (r.at == waiting || r.at == load_tail) r.tail = r.head = 0;  // forgotten: fewer states
    emit(n);
    return true;
  }

  template <class Emit>
  std::string operator()(const State& s, Emit visit) const {
    // Readers are alike: states in which they have changed places are one.
    const auto emit = [&visit](State n) {
      if (std::memcmp(&n.readers[0], &n.readers[1], sizeof(Reader)) > 0) std::swap(n.readers[0], n.readers[1]);
      visit(n);
    };
    bool goes_on = engine_steps(s, emit);
    bool all_wait = s.engine == idle;
    bool lives = false;
    for (std::size_t i = 0; i < s.readers.size(); ++i) {
      goes_on |= reader_steps(s, i, emit);
      lives |= s.readers[i].at != dead;
      all_wait &= s.readers[i].at == waiting;
      if (s.kills < protocol.kills && s.readers[i].at != dead && lives) {
        State n = s;
        n.readers[i] = {dead, 0, 0, 0, 0};
        ++n.kills;
        emit(n);
      }
    }
    if (s.tail > s.head) return "more was read than came";
    if (all_wait && s.tail == s.head && s.tokens != 0) return "readable over an empty ring";
    if (!goes_on && s.tail != s.head) return "a datagram is there, and nobody is told";
    if (!goes_on && s.tokens != 0) return "readable for ever";
    return "";
  }
};

std::string check(Readiness::Protocol protocol) { return explore(Readiness::State{}, Readiness{protocol}); }

TEST(ReadinessModel, NobodySleepsOverADatagram) {
  EXPECT_EQ(check(Readiness::Protocol{.watched = false}), "");
  EXPECT_EQ(check(Readiness::Protocol{}), "");
}

TEST(ReadinessModel, EdgeTriggeredReadersSeeAnEdgeForWhatTheyHaveNotRead) {
  EXPECT_EQ(check(Readiness::Protocol{.edge_triggered = true, .watched = false}), "");
  EXPECT_EQ(check(Readiness::Protocol{.edge_triggered = true}), "");
}

TEST(ReadinessModel, TokensForEachArrivalDoNoHarm) {
  EXPECT_EQ(check(Readiness::Protocol{.rings_always = true}), "");
  EXPECT_EQ(check(Readiness::Protocol{.edge_triggered = true, .rings_always = true}), "");
  EXPECT_EQ(check(Readiness::Protocol{.edge_triggered = true, .rings_always = true, .kills = 1}), "");
}

TEST(ReadinessModel, AKillAtAnyStepStrandsNobody) {
  EXPECT_EQ(check(Readiness::Protocol{.kills = 1}), "");
  EXPECT_EQ(check(Readiness::Protocol{.edge_triggered = true, .kills = 1}), "");
}

TEST(ReadinessModel, EachStepIsNeeded) {
  EXPECT_EQ(check(Readiness::Protocol{.rechecks = false, .watched = false}), "a datagram is there, and nobody is told");
  EXPECT_EQ(check(Readiness::Protocol{.awaits_ring = false}), "readable over an empty ring");
  EXPECT_EQ(check(Readiness::Protocol{.watched = false, .kills = 1}), "a datagram is there, and nobody is told");
}

// ---- Calls that sleep on a descriptor that nobody else waits for: tokens for them alone ----

struct Sleeping {
  struct Protocol {
    bool looks_before_sleep = true;  // who is counted as a listener looks at the ring once more
    bool asks = true;                // who took tokens, and sees a datagram and a listener, asks for another token
    bool pays = true;                // so does who takes a datagram after a call woke by taking the token
  };
  enum ReaderAt : std::uint8_t {
    load_tail,
    load_head,
    swap,
    pay,
    count,
    listen,
    look,
    asleep,
    discount,
    owe,
    leave,
    look_after,
    uncount,
    drain,
    look_again,
    ask,
    done,
    gone
  };
  enum EngineAt : std::uint8_t { idle, publish, decide, put, counted, recheck, recheck_token, recheck_put };
  struct Reader {
    ReaderAt at = load_tail;
    std::uint8_t tail = 0, head = 0, has_one = 0;
    bool operator==(const Reader&) const = default;
  };
  struct State {
    std::uint8_t arrivals = 3, head = 0, tail = 0, tokens = 0, token_count = 0, listeners = 0, events = 0;
    EngineAt engine = idle;
    std::uint8_t has_rung = 0, rung_tail = 0, owed = 0;
    std::array<Reader, 2> readers{};
  };

  Protocol protocol;

  static void put_token(State& s) {
    ++s.tokens;
    s.rung_tail = s.tail;
    s.has_rung = s.tail != s.head;
    s.engine = counted;
  }

  template <class Emit>
  bool engine_steps(const State& s, Emit emit) const {
    State n = s;
    switch (s.engine) {
      case idle:
        if (s.arrivals > 0) {
          n.engine = publish;
          emit(n);
        }
        if (s.events != 0) {
          n = s;
          n.events = 0;
          n.engine = recheck;
          emit(n);
        }
        return s.arrivals > 0 || s.events != 0;
      case publish:
        ++n.head;
        --n.arrivals;
        n.engine = decide;
        emit(n);
        if (n.arrivals > 0) {  // one more in the same batch
          n.engine = publish;
          emit(n);
        }
        return true;
      case decide: {
        const bool moved = s.has_rung == 0 || s.tail != s.rung_tail;
        n.engine = s.listeners != 0 && moved && s.tail != s.head ? put : idle;
        break;
      }
      case put:
      case recheck_put:
        put_token(n);
        break;
      case counted:
        n.token_count = 1;
        n.engine = idle;
        break;
      case recheck:
        n.engine = s.listeners != 0 && s.tail != s.head ? recheck_token : idle;
        break;
      case recheck_token:
        n.engine = s.tokens == 0 ? recheck_put : idle;
        break;
    }
    emit(n);
    return true;
  }

  void read(const State& s, State& n, Reader& r) const {
    switch (r.at) {
      case load_tail:
        r.tail = s.tail;
        r.at = load_head;
        break;
      case load_head:
        r.head = s.head;
        r.at = r.tail == s.head ? count : swap;
        break;
      case swap:
        r.at = s.tail != r.tail ? load_tail : s.tail + 1 == r.head ? count : pay;
        r.has_one = s.tail == r.tail;
        n.tail = s.tail == r.tail ? s.tail + 1 : s.tail;
        break;
      case pay:
        r.at = s.owed != 0 && protocol.pays ? look_again : done;
        n.owed = 0;
        break;
      case count:
        r.at = s.token_count != 0 ? uncount : r.has_one != 0 ? pay : listen;
        break;
      default:
        break;
    }
  }

  void sleep(const State& s, State& n, Reader& r) const {
    switch (r.at) {
      case listen:
        ++n.listeners;
        r.at = protocol.looks_before_sleep ? look : asleep;
        break;
      case look:
        r.at = s.tail != s.head ? leave : asleep;
        break;
      case asleep:
        --n.tokens;
        r.at = discount;
        break;
      case discount:
        if (s.token_count != 0) --n.token_count;
        r.at = owe;
        break;
      case owe:
        n.owed = 1;
        r.at = leave;
        break;
      case leave:
        --n.listeners;
        r.at = look_after;
        break;
      default:
        break;
    }
  }

  void tidy(const State& s, State& n, Reader& r) const {
    switch (r.at) {
      case look_after:
        r.at = s.tail != s.head ? load_tail : uncount;
        break;
      case uncount:
        n.token_count = 0;
        r.at = drain;
        break;
      case drain:
        n.tokens = 0;
        r.at = look_again;
        break;
      case look_again:
        r.at = s.tail != s.head && s.listeners != 0 && s.tokens == 0 && protocol.asks ? ask : done;
        break;
      case ask:
        n.events = 1;
        r.at = done;
        break;
      default:
        break;
    }
  }

  // Reads one datagram after the other, and sleeps while there is none; or takes one, and never comes again.
  template <class Emit>
  bool reader_steps(const State& s, std::size_t who, Emit emit) const {
    State n = s;
    Reader& r = n.readers[who];
    if (r.at == gone || (r.at == asleep && s.tokens == 0)) return false;
    if (r.at == done) {
      if (r.has_one != 0) {
        r = {gone, 0, 0, 0};
        emit(n);
      }
      r.at = load_tail;
    } else if (r.at < listen) {
      read(s, n, r);
    } else if (r.at < look_after) {
      sleep(s, n, r);
    } else {
      tidy(s, n, r);
    }
    if (r.at == load_tail || r.at == listen) r.tail = r.head = r.has_one = 0;  // forgotten: fewer states
    emit(n);
    return true;
  }

  template <class Emit>
  std::string operator()(const State& s, Emit emit) const {
    bool goes_on = engine_steps(s, emit);
    for (std::size_t i = 0; i < s.readers.size(); ++i) goes_on |= reader_steps(s, i, emit);
    if (s.tail > s.head) return "more was read than came";
    if (!goes_on && s.listeners != 0 && s.tail != s.head) return "a datagram is there, and nobody is told";
    for (const Reader& reader : s.readers) {
      if (!goes_on && reader.at != asleep && reader.at != gone) return "somebody is stuck";
    }
    return "";
  }
};

std::string check(Sleeping::Protocol protocol) { return explore(Sleeping::State{}, Sleeping{protocol}); }

TEST(ReadinessModel, WhoSleepsOnADescriptorIsTold) { EXPECT_EQ(check(Sleeping::Protocol{}), ""); }

TEST(ReadinessModel, EachStepOfSleepersIsNeeded) {
  EXPECT_EQ(check(Sleeping::Protocol{.looks_before_sleep = false}), "a datagram is there, and nobody is told");
  EXPECT_EQ(check(Sleeping::Protocol{.asks = false}), "a datagram is there, and nobody is told");
  EXPECT_EQ(check(Sleeping::Protocol{.pays = false}), "a datagram is there, and nobody is told");
}

// ---- Senders: a full ring, the plug ----

struct Writability {
  struct Protocol {
    bool looks_at_plug = true;  // a plug that comes makes the engine look for space
    bool notices_eaten = true;  // the engine, having taken a plug that it did not count on, says that there is none
    std::uint8_t kills = 0;
  };
  enum SenderAt : std::uint8_t { waiting, reserve, mark, plug, dead };
  enum EngineAt : std::uint8_t { idle, sent, drain, unmark, heard, eat, eaten };
  struct Sender {
    SenderAt at = waiting;
    std::uint8_t left = 4;
  };
  static constexpr std::uint8_t limit = 3, half = 1;
  struct State {
    std::uint8_t used = 0, plugged = 0, plugs = 0, events = 0, ate = 0, kills = 0;
    EngineAt engine = idle;
    std::array<Sender, 2> senders{};
  };

  Protocol protocol;

  template <class Emit>
  bool engine_steps(const State& s, Emit emit) const {
    State n = s;
    switch (s.engine) {
      case idle:
        if (s.used != 0) {
          --n.used;
          n.engine = sent;
          emit(n);
        }
        if (s.events != 0) {
          n = s;
          n.events = 0;
          n.engine = heard;
          emit(n);
        }
        return s.used != 0 || s.events != 0;
      case sent:
        n.engine = s.plugged != 0 && s.used <= half ? drain : idle;
        break;
      case drain:
        n.plugs = 0;
        n.engine = unmark;
        break;
      case unmark:
        n.plugged = 0;
        n.engine = idle;
        break;
      case heard:
        n.engine = s.plugged == 0 ? eat : s.used <= half ? drain : idle;
        break;
      case eat:
        n.ate = s.plugs != 0;
        n.plugs = 0;
        n.engine = eaten;
        break;
      case eaten:
        if (s.ate != 0 && protocol.notices_eaten) n.plugged = 0;
        n.ate = 0;
        n.engine = idle;
        break;
    }
    emit(n);
    return true;
  }

  // Waits as poll(2) does: for no plug in the socket. A turn that finds the ring full with no plug to wait for is a wasted one.
  template <class Emit>
  bool sender_steps(const State& s, std::size_t who, Emit emit) const {
    State n = s;
    Sender& sender = n.senders[who];
    switch (s.senders[who].at) {
      case waiting:
        if (s.plugs != 0 || sender.left == 0) return false;
        sender.at = reserve;
        break;
      case reserve:
        if (s.used < limit) {
          ++n.used;
          --sender.left;
          sender.at = waiting;
        } else {
          sender.at = mark;
        }
        break;
      case mark:
        sender.at = s.plugged == 0 ? plug : waiting;
        n.plugged = 1;
        break;
      case plug:
        ++n.plugs;
        n.events = protocol.looks_at_plug;
        sender.at = waiting;
        break;
      case dead:
        return false;
    }
    emit(n);
    return true;
  }

  template <class Emit>
  std::string operator()(const State& s, Emit emit) const {
    bool goes_on = engine_steps(s, emit);
    bool has_more = false;
    bool all_wait = s.engine == idle && s.events == 0;
    for (std::size_t i = 0; i < s.senders.size(); ++i) {
      goes_on |= sender_steps(s, i, emit);
      has_more |= s.senders[i].at != dead && s.senders[i].left != 0;
      all_wait &= s.senders[i].at == waiting || s.senders[i].at == dead;
      if (s.kills < protocol.kills && s.senders[i].at != dead) {
        State n = s;
        n.senders[i] = {dead, 0};
        ++n.kills;
        emit(n);
      }
    }
    if (!goes_on && has_more) return "there is space, and a sender waits for ever";
    if (all_wait && s.kills == 0 && s.plugged != 0 && s.plugs == 0) return "a full ring looks writable";
    return "";
  }
};

std::string check(Writability::Protocol protocol) { return explore(Writability::State{}, Writability{protocol}); }

TEST(ReadinessModel, NoSenderWaitsForSpaceThatIsThere) {
  EXPECT_EQ(check(Writability::Protocol{}), "");
  EXPECT_EQ(check(Writability::Protocol{.kills = 1}), "");
}

TEST(ReadinessModel, EachStepOfSendersIsNeeded) {
  EXPECT_EQ(check(Writability::Protocol{.looks_at_plug = false}), "there is space, and a sender waits for ever");
  EXPECT_EQ(check(Writability::Protocol{.notices_eaten = false}), "a full ring looks writable");
}

}  // namespace
}  // namespace gannet::engine
