package fingerprint

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"

	"github.com/dchest/siphash"
)

// mark is a fingerprint as the index keeps it in memory. It has 64 bits, in three
// parts:
//
//	whole  26 bits  of SipHash-2-4 of the whole normal form
//	quick  33 bits  by which a text is turned down before anything slow is done
//	shape   5 bits  of how many words the value is made
//
// quick is made of the words in small letters, also for values that are compared as they
// are written: so one look says whether a word may be a value in either form. Of two
// words that differ in that only, the 26 bits of whole decide alone: one in 67 million
// would be taken for the other, but nothing in a text is like somebody's value in
// everything but its large letters, unless it was made of it. Other words are told from
// a value by 59 bits, those of its shape besides.
//
// For a value of one word, quick is a fast keyed hash of it. For a value of several
// words its upper 20 bits are of the fast hash of the first word, so that a text is
// looked at further only where such a word stands; the other 13 are of the fast
// hashes of all words.
//
// The fast hash is no cryptography, and equal first words would show. So a mark does
// not leave the memory: a Print is the mark encrypted.
type mark uint64

const (
	shapeBits = 5
	quickBits = 33
	leadBits  = 20

	// shapeOne is a value of one word.
	shapeOne = 0
)

// quick returns the mark's middle part.
func (m mark) quick() uint64 { return uint64(m) >> shapeBits & (1<<quickBits - 1) }

// shape returns the mark's last part.
func (m mark) shape() int { return int(m & (1<<shapeBits - 1)) }

// keys are what one Key is stretched to.
type keys struct {
	k0, k1 uint64
	fast   [3]uint64
	block  cipher.Block
}

func newKeys(k Key) *keys {
	a, b := binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])
	n := byte(0)
	next := func() uint64 {
		n++
		return siphash.Hash(a, b, []byte{'k', 'e', 'y', n})
	}
	ks := &keys{k0: next(), k1: next()}
	for i := range ks.fast {
		// Odd, so that no part of a word is multiplied away.
		ks.fast[i] = next() | 1
	}
	var block [16]byte
	binary.BigEndian.PutUint64(block[:], next())
	binary.BigEndian.PutUint64(block[8:], next())
	ks.block, _ = aes.NewCipher(block[:]) // the length is right
	return ks
}

// whole is SipHash-2-4 of a normal form.
func (k *keys) whole(b []byte) uint64 { return siphash.Hash(k.k0, k.k1, b) }

// one returns the mark of a value of one word in small letters.
func (k *keys) one(word []byte) mark { return k.oneOf(word, k.quickOf(word)) }

// oneOf is one, when the fast hash is there already, or the word is not in small letters:
// the hash is that of the word in these.
func (k *keys) oneOf(word []byte, fast uint64) mark {
	return mark(k.whole(word)>>(quickBits+shapeBits)<<(quickBits+shapeBits) | fast>>(64-quickBits)<<shapeBits | shapeOne)
}

// severalOf returns the mark of a value of several words: text is its normal form,
// quick comes from chain.
func (k *keys) severalOf(text []byte, quick uint64, shape uint8) mark {
	return mark(k.whole(text)>>(quickBits+shapeBits)<<(quickBits+shapeBits) | quick<<shapeBits | uint64(shape))
}

// link adds the fast hash of a word to that of the words before it.
func (k *keys) link(all, fast uint64) uint64 {
	hi, lo := bits.Mul64(all^fast, k.fast[2])
	return hi ^ lo + fast
}

// chain returns the quick part of a value of several words: first is the fast hash
// of its first, all are those of all words, linked.
func chain(first, all uint64) uint64 {
	return first>>(64-leadBits)<<(quickBits-leadBits) | all>>(64-quickBits+leadBits)
}

// quickOf is the fast keyed hash of a word.
func (k *keys) quickOf(b []byte) uint64 {
	n := len(b)
	switch {
	case n <= 16:
		var x, y uint64
		switch {
		case n >= 8:
			x = binary.LittleEndian.Uint64(b)
			y = binary.LittleEndian.Uint64(b[n-8:])
			if n == 8 {
				y = 0
			}
		default:
			for i, c := range b {
				x |= uint64(c) << (8 * i)
			}
		}
		return k.fast16(x, y, uint64(n))
	default:
		h := k.fast16(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:]), uint64(n))
		for b = b[8:]; len(b) > 8; b = b[8:] {
			hi, lo := bits.Mul64(h^binary.LittleEndian.Uint64(b), k.fast[2])
			h = hi ^ lo
		}
		return h
	}
}

// fast16 hashes a word of n bytes: x are its first eight bytes or fewer, y its last
// eight if it has more than eight.
func (k *keys) fast16(x, y, n uint64) uint64 {
	hi, lo := bits.Mul64(x^k.fast[0], y^n^k.fast[1])
	// Once more, for a factor near zero lets little of the other through.
	hi, lo = bits.Mul64(hi^lo^x, k.fast[2])
	return hi ^ lo
}

// twoSigns is quickOf for two signs of three bytes each.
func (k *keys) twoSigns(x, y []byte) uint64 {
	return k.fast16(uint64(x[0])|uint64(x[1])<<8|uint64(x[2])<<16|uint64(y[0])<<24|uint64(y[1])<<32|uint64(y[2])<<40, 0, 6)
}

// print encrypts a mark: one block of AES-128, the mark followed by zeros.
func (k *keys) print(m mark) Print {
	var p Print
	binary.BigEndian.PutUint64(p[:], uint64(m))
	k.block.Encrypt(p[:], p[:])
	return p
}

// mark undoes print; false if it was made under another key.
func (k *keys) mark(p Print) (mark, bool) {
	k.block.Decrypt(p[:], p[:])
	return mark(binary.BigEndian.Uint64(p[:])), binary.BigEndian.Uint64(p[8:]) == 0
}

// Shapes of values of several words: how many words, exactly where it is few. Values
// that are compared byte by byte, addresses of e-mail and names have their own, so
// that a word is looked at further only if what follows it fits.
const (
	maxExactWords = 64
	maxEmailWords = 16
	maxNameWords  = 32
	exactShapes   = 1 // the first shape of values compared as they are written
	emailShapes   = 14
	nameShapes    = 18

	exactOnly uint32 = 1<<emailShapes - 1<<exactShapes
	emailOnly uint32 = 1<<nameShapes - 1<<emailShapes
	namesOnly uint32 = 1<<32 - 1<<nameShapes
)

var (
	exactShape = shapesOf(exactShapes, 2, 3, 4, 5, 6, 7, 8, 10, 13, 18, 26, 40, maxExactWords)
	emailShape = shapesOf(emailShapes, 3, 4, 5, maxEmailWords)
	nameShape  = shapesOf(nameShapes, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 21, 26, maxNameWords)
)

// shapesOf returns the shape of each number of words, given the largest of each
// shape. Zero is none.
func shapesOf(first int, largest ...int) (of [maxExactWords + 1]uint8) {
	n := 2
	for i, last := range largest {
		for ; n <= last; n++ {
			of[n] = uint8(first + i)
		}
	}
	return of
}
