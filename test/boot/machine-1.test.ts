import { describeMachine } from './support/suite.ts';

describeMachine(0, 2);
