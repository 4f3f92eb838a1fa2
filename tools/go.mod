module gatehouse/tools

go 1.26
