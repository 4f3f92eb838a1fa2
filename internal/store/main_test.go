package store_test

import (
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

func init() { store.SetPostgres(storetest.EmptyPostgres) }
