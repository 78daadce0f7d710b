package query

// timeWords are what PostgreSQL reads as a time of the clock in the input of a date
// or a time (datetktbl, src/backend/utils/adt/datetime.c).
var timeWords = []string{"now", "today", "tomorrow", "yesterday"}

// TimeWord reports whether s has a word that the input of a date or a time takes
// from the clock, in any case, between anything that is no letter: PostgreSQL splits
// words off digits and signs ('today+1', '10:00 now').
func TimeWord[T string | []byte](s T) bool {
	for i := 0; i < len(s); {
		if !isLetter(s[i]) {
			i++
			continue
		}
		j := i
		for j < len(s) && isLetter(s[j]) {
			j++
		}
		for _, w := range timeWords {
			if j-i == len(w) && foldAt(s, i, w) {
				return true
			}
		}
		i = j
	}
	return false
}

func foldAt[T string | []byte](s T, at int, lower string) bool {
	for i := range len(lower) {
		if s[at+i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
